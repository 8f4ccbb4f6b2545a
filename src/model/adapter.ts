/**
 * The adapter: full-rank LoRA on the gate, up and down projections of every expert, ΔW = (alpha ÷ rank) · B·A.
 *
 * It is one flat `Float32Array`, laid out as the training step reads it: five blocks, each with all experts of all
 * layers one after the other (expert number = layer · experts + expert).
 *
 *   gateUpA  [layers·experts, 2·rank, width]         rows 0..rank−1 are A of gate, the rest A of up
 *   gateB    [layers·experts, expertWidth, rank]
 *   upB      [layers·experts, expertWidth, rank]
 *   downA    [layers·experts, rank, expertWidth]
 *   downB    [layers·experts, width, rank]
 *
 * Le et al., "FLAME", 2025, https://arxiv.org/abs/2506.16600; Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685.
 */
import type { ModelConfig } from "./config.ts";

export interface LoraConfig {
  /** Rank of every A and B, the same for all clients. */
  readonly rank: number;
  /** Numerator of the scale alpha ÷ rank. */
  readonly alpha: number;
}

export const blockNames = ["gateUpA", "gateB", "upB", "downA", "downB"] as const;
export type BlockName = (typeof blockNames)[number];

export interface AdapterBlock {
  readonly name: BlockName;
  /** First element in the flat vector. */
  readonly offset: number;
  /** Rows and columns of one expert's matrix. */
  readonly rows: number;
  readonly columns: number;
}

/** A stretch of the flat vector: `[start, end)`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface AdapterLayout {
  readonly lora: LoraConfig;
  readonly layers: number;
  /** Experts per layer. */
  readonly experts: number;
  /** Elements of the flat vector. */
  readonly size: number;
  readonly blocks: readonly AdapterBlock[];
  /** `ranges(e)` are the five stretches that belong to expert number e = layer · experts + expert. */
  ranges(expert: number): readonly Range[];
}

export function adapterLayout(model: ModelConfig, lora: LoraConfig): AdapterLayout {
  const { width: d, expertWidth: f } = model;
  const total = model.layers * model.experts;
  const shapes: Record<BlockName, [rows: number, columns: number]> = {
    gateUpA: [2 * lora.rank, d],
    gateB: [f, lora.rank],
    upB: [f, lora.rank],
    downA: [lora.rank, f],
    downB: [d, lora.rank],
  };
  const blocks: AdapterBlock[] = [];
  let size = 0;
  for (const name of blockNames) {
    const [rows, columns] = shapes[name];
    blocks.push({ name, offset: size, rows, columns });
    size += total * rows * columns;
  }
  const ranges = Array.from({ length: total }, (_, expert) =>
    blocks.map(({ offset, rows, columns }) => {
      const start = offset + expert * rows * columns;
      return { start, end: start + rows * columns };
    }),
  );
  return { lora, layers: model.layers, experts: model.experts, size, blocks, ranges: (expert) => ranges[expert]! };
}
