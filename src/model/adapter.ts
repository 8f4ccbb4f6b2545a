/**
 * The adapter: full-rank LoRA on the gate, up and down projections of every expert, ΔW = (alpha ÷ rank) · B·A.
 *
 * It is one flat `Float32Array`, laid out as the training step reads it: layer after layer, in each layer five blocks,
 * and in each block all experts of the layer one after the other.
 *
 *   gateUpA  [experts, 2·rank, width]         rows 0..rank−1 are A of gate, the rest A of up
 *   gateB    [experts, expertWidth, rank]
 *   upB      [experts, expertWidth, rank]
 *   downA    [experts, rank, expertWidth]
 *   downB    [experts, width, rank]
 *
 * Experts are numbered through: layer · experts + expert, where layers without experts are passed over. Where routers
 * train too, a change of each layer's router weights follows, `[experts, width]` as in Hugging Face files; 0 is the base
 * model's router. LoRA on attention, where there is some, comes last: see `adapted-attention.ts`.
 *
 * Where a router chooses among ranks, B lie transposed, so that a rank is a row of each factor, shared ranks first, and
 * a router for each layer follows, `[candidates, 2]`: its weight on how degraded an input is, and its bias.
 *
 * Le et al., "FLAME", 2025, https://arxiv.org/abs/2506.16600; Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685.
 */
import { type AttentionLayout, attentionLayout } from "./adapted-attention.ts";
import { type BesideConfig, type BesideLayout, besideLayout } from "./beside.ts";
import { type ModelConfig, sparseLayers } from "./config.ts";

/** What LoRA lies on; `attention` is q, k, v and o of every layer. */
export const loraTargets = ["experts", "experts-and-attention"] as const;
export type LoraTargets = (typeof loraTargets)[number];

export interface LoraConfig {
  /** Rank of every A and B, the same for all clients. */
  readonly rank: number;
  /** Numerator of the scale alpha ÷ rank. */
  readonly alpha: number;
  /** Experts unless given. */
  readonly targets?: LoraTargets;
  /** Which of the ranks a router chooses for each input; all are always on unless given. */
  readonly slices?: SliceConfig;
}

export interface SliceConfig {
  /** n, the last of the ranks. */
  readonly routed: number;
  /** n_0, candidates that hold nothing. */
  readonly zero: number;
  /** k, candidates that an input is given at the full budget. */
  readonly topK: number;
}

const blockNames = ["gateUpA", "gateB", "upB", "downA", "downB"] as const;
export type BlockName = (typeof blockNames)[number];

/** The shape of one expert's matrix in a block. */
interface AdapterBlock {
  readonly name: BlockName;
  readonly rows: number;
  readonly columns: number;
}

/** A stretch of the flat vector: `[start, end)`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export interface AdapterLayout {
  /** The base that it adapts. */
  readonly model: ModelConfig;
  readonly lora: LoraConfig;
  readonly shape: AdapterShape;
  /** Layers with experts. */
  readonly layers: number;
  /** Experts per layer. */
  readonly experts: number;
  /** Elements of the flat vector of one model. */
  readonly size: number;
  /** How many models there are: the vectors of all lie one after the other. */
  readonly members: number;
  /** Small experts beside each mixture, which are the whole vector where there are any. */
  readonly pool: BesideLayout | null;
  /** In the order of the flat vector within a layer. */
  readonly blocks: readonly AdapterBlock[];
  /** Where the change of each layer's router lies; empty where routers rest. */
  readonly routers: readonly Range[];
  /** Of every layer, dense ones too; empty where attention rests. */
  readonly attention: readonly AttentionLayout[];
  /** Where what chooses each layer's ranks lies; empty where nothing does. */
  readonly rankRouters: readonly Range[];
  /** Where one matrix of expert number `expert` lies. */
  matrix(name: BlockName, expert: number): Range;
  /** The five stretches that belong to expert number `expert`, in the order of `blocks`. */
  ranges(expert: number): readonly Range[];
}

/** What is trained besides the experts' factors, or in their place; and how many times. */
export interface AdapterShape {
  readonly routers?: boolean;
  /** Models over one base, each with an adapter of its own. */
  readonly members?: number;
  /** A pool of small experts beside each mixture, and nothing on the experts of the base. */
  readonly beside?: BesideConfig;
}

export function adapterLayout(model: ModelConfig, lora: LoraConfig, shape: AdapterShape = {}): AdapterLayout {
  const { width: d, expertWidth: f, experts } = model;
  const layers = sparseLayers(model).length;
  const { rank, slices, targets } = lora;
  const ofB = (name: BlockName, outputs: number): AdapterBlock =>
    slices === undefined ? { name, rows: outputs, columns: rank } : { name, rows: rank, columns: outputs };
  const blocks: AdapterBlock[] = [
    { name: "gateUpA", rows: 2 * rank, columns: d },
    ofB("gateB", f),
    ofB("upB", f),
    { name: "downA", rows: rank, columns: f },
    ofB("downB", d),
  ];
  const expertSize = blocks.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const factors = layers * experts * expertSize;
  const routers = Array.from(
    { length: shape.routers === true && shape.beside === undefined ? layers : 0 },
    (_, layer) => ({
      start: factors + layer * experts * d,
      end: factors + (layer + 1) * experts * d,
    }),
  );
  const ranges = Array.from({ length: layers * experts }, (_, expert) => {
    const layer = Math.floor(expert / experts);
    let block = layer * experts * expertSize;
    return blocks.map(({ rows, columns }) => {
      const start = block + (expert % experts) * rows * columns;
      block += experts * rows * columns;
      return { start, end: start + rows * columns };
    });
  });
  const perRouter = slices === undefined ? 0 : 2 * (slices.routed + slices.zero);
  const rankRouters = Array.from({ length: slices === undefined ? 0 : layers }, (_, layer) => ({
    start: factors + layer * perRouter,
    end: factors + (layer + 1) * perRouter,
  }));
  const before = rankRouters.at(-1)?.end ?? routers.at(-1)?.end ?? factors;
  const attention: AttentionLayout[] = [];
  for (let layer = 0; targets === "experts-and-attention" && layer < model.layers; layer++) {
    attention.push(attentionLayout(model, rank, attention.at(-1)?.end ?? before));
  }
  const pool = shape.beside === undefined ? null : besideLayout(model, shape.beside);
  return {
    model,
    lora,
    shape,
    layers,
    experts,
    size: pool?.size ?? attention.at(-1)?.end ?? before,
    members: shape.members ?? 1,
    pool,
    blocks,
    routers,
    attention,
    rankRouters,
    matrix: (name, expert) => ranges[expert]![blockNames.indexOf(name)]!,
    ranges: (expert) => ranges[expert]!,
  };
}
