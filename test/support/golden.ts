/** What transformers and PyTorch compute for a small checkpoint; `test/golden/data/README.md` says how. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { packageRoot } from "../../src/base/places.ts";
import { type Batch, idsOf } from "../../src/data/batches.ts";
import { type AdapterLayout, adapterLayout } from "../../src/model/adapter.ts";
import type { BaseForm, BaseWeights } from "../../src/model/base-weights.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { SafetensorsFile } from "../../src/model/formats/safetensors.ts";

const data = join(packageRoot(), "test", "golden", "data");

export const goldenFolder = join(data, "olmoe-a");

/** Of the reference's AdamW steps. */
export const optimizer = {
  learningRate: 1e-3,
  personalLearningRate: 1e-2,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  clipNorm: null,
};

export interface Golden {
  readonly weights: BaseWeights;
  readonly layout: AdapterLayout;
  readonly batch: Batch;
  readonly rescaler: Float32Array;
  readonly expected: {
    readonly loss_base: Record<string, number>;
    readonly loss_lora: Record<string, number>;
    readonly losses_training: Record<string, number[]>;
  };
  read(name: string): Float32Array;
  /** All LoRA tensors under a prefix such as `grad.k8`, as one flat adapter. */
  adapter(prefix: string): Float32Array;
}

/** Small models of OLMoE's relatives, each with what transformers makes of it. */
export const relativeFolder = (type: string): string => join(data, "relatives", type);

/** A small OLMoE in bfloat16, with what transformers makes of its weights in each narrow form. */
export const narrowFolder = join(data, "narrow");

export async function loadGolden(source: string = goldenFolder, form: BaseForm = "f32"): Promise<Golden> {
  const name = form === "f32" ? "expected" : `expected-${form}`;
  const expected = JSON.parse(readFileSync(join(source, `${name}.json`), "utf8"));
  const file = SafetensorsFile.open(join(source, `${name}.safetensors`));
  const folder = mkdtempSync(join(tmpdir(), "flame-golden-"));
  process.once("exit", () => rmSync(folder, { recursive: true }));
  const weights = await prepareBaseWeights(loadCheckpoint(source), folder, { form });
  const layout = adapterLayout(weights.config, { rank: expected.rank, alpha: expected.alpha });
  const read = (name: string) => {
    const values = new Float32Array(file.entry(name).size);
    file.readFloats(name, values);
    return values;
  };
  return {
    weights,
    layout,
    expected,
    batch: batchOf(expected),
    rescaler: read("rescaler"),
    read,
    adapter: (prefix) => (source === goldenFolder ? flatAdapter : stackedAdapter)(layout, prefix, read),
  };
}

function batchOf({
  ids,
  attention_mask,
  labels,
}: {
  ids: number[][];
  attention_mask: number[][];
  labels: number[][];
}): Batch {
  const rows = ids.length;
  const length = ids[0]!.length;
  const lossPositions: number[] = [];
  const targets: number[] = [];
  for (const [row, marks] of labels.entries()) {
    for (const [position, label] of marks.entries()) {
      if (position === 0 || label === -100) continue;
      lossPositions.push(row * length + position - 1);
      targets.push(label);
    }
  }
  return {
    rows,
    length,
    inputs: { ids: Int32Array.from(ids.flat()) },
    lengths: Int32Array.from(attention_mask, (mask) => mask.reduce((a, b) => a + b, 0)),
    lossPositions: Int32Array.from(lossPositions),
    targets: Int32Array.from(targets),
  };
}

function flatAdapter(layout: AdapterLayout, prefix: string, read: (name: string) => Float32Array): Float32Array {
  const flat = new Float32Array(layout.size);
  for (let layer = 0; layer < layout.layers; layer++) {
    for (let expert = 0; expert < layout.experts; expert++) {
      const of = (projection: string, factor: string) =>
        read(
          `${prefix}.base_model.model.model.layers.${layer}.mlp.experts.${expert}.${projection}_proj.lora_${factor}.weight`,
        );
      const ranges = layout.ranges(layer * layout.experts + expert);
      const gateA = of("gate", "A");
      flat.set(gateA, ranges[0]!.start);
      flat.set(of("up", "A"), ranges[0]!.start + gateA.length);
      flat.set(of("gate", "B"), ranges[1]!.start);
      flat.set(of("up", "B"), ranges[2]!.start);
      flat.set(of("down", "A"), ranges[3]!.start);
      flat.set(of("down", "B"), ranges[4]!.start);
    }
  }
  return flat;
}

/** The relatives' factors lie together by mixture and projection, `[experts, rows, columns]`. */
function stackedAdapter(layout: AdapterLayout, prefix: string, read: (name: string) => Float32Array): Float32Array {
  const flat = new Float32Array(layout.size);
  for (let layer = 0; layer < layout.layers; layer++) {
    const [gateA, gateB, upA, upB, downA, downB] = ["gate", "up", "down"].flatMap((projection) =>
      ["A", "B"].map((factor) => read(`${prefix}.${layer}.${projection}.${factor}`)),
    ) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
    for (let expert = 0; expert < layout.experts; expert++) {
      const part = (stack: Float32Array) => {
        const each = stack.length / layout.experts;
        return stack.subarray(expert * each, (expert + 1) * each);
      };
      const ranges = layout.ranges(layer * layout.experts + expert);
      flat.set(part(gateA), ranges[0]!.start);
      flat.set(part(upA), ranges[0]!.start + gateA.length / layout.experts);
      for (const [at, stack] of [gateB, upB, downA, downB].entries()) flat.set(part(stack), ranges[at + 1]!.start);
    }
  }
  return flat;
}

/** What of a flat adapter, or of its gradient, is one tensor in each layer: all its experts' A or B of a projection. */
export function adapterTensors({ layers, experts, blocks, ranges }: AdapterLayout) {
  return Array.from({ length: layers }, (_, layer) =>
    blocks.map(({ name }, at) => {
      const [first, last] = [ranges(layer * experts)[at]!, ranges((layer + 1) * experts - 1)[at]!];
      return { name: `${layer}.${name}`, start: first.start, end: last.end };
    }),
  ).flat();
}

/** ‖a − b‖ ÷ ‖b‖. */
export function relativeError(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let norm = 0;
  for (const [i, value] of b.entries()) {
    difference += (a[i]! - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** What the programs of the reference's model are fed besides parameters. */
export function feeds({ batch, weights }: Pick<Golden, "batch" | "weights">) {
  const padding = new Int32Array(batch.rows * batch.length).fill(weights.config.experts);
  for (let row = 0; row < batch.rows; row++)
    padding.fill(0, row * batch.length, row * batch.length + batch.lengths[row]!);
  return { ids: idsOf(batch), padding, positions: batch.lossPositions, targets: batch.targets };
}
