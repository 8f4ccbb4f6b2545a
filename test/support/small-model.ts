/** A transformer with random weights that fits on a page: for tests that compare whole programs with the reference. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Draws, Rng } from "../../src/base/random.ts";
import { type Batch, idsOf } from "../../src/data/batches.ts";
import type { AdapterLayout } from "../../src/model/adapter.ts";
import {
  type BaseWeights,
  baseWeightShapes,
  type WeightSource,
  weightsInMemory,
} from "../../src/model/base-weights.ts";
import { type ModelConfig, plainSettings } from "../../src/model/config.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { writeCheckpoint } from "../../src/model/formats/write-checkpoint.ts";
import type { EvaluationJob, TrainJob } from "../../src/tasks/training-engine.ts";
import { sizeOf } from "../../src/tensor/graph/shape.ts";

export const smallModel: ModelConfig = {
  vocabulary: 13,
  layers: 2,
  width: 8,
  heads: 2,
  keyValueHeads: 2,
  experts: 6,
  expertWidth: 4,
  topK: 3,
  maxTokens: 12,
  ...plainSettings,
};

/** Tensors in the executor layout by name. */
export type Tensors = ReadonlyMap<string, Float32Array>;

/** Norms near 1, everything else normal with deviation 0.4. */
export function randomWeights(config: ModelConfig, seed = 1): Map<string, Float32Array> {
  const tensors = new Map<string, Float32Array>();
  for (const [index, [name, shape]] of [...baseWeightShapes(config)].entries()) {
    const draws = new Rng(seed).at("weights", index).at(0);
    const isNorm = /norm$/i.test(name);
    const values = Float32Array.from({ length: sizeOf(shape) }, () =>
      isNorm ? 1 + 0.1 * draws.normal() : 0.4 * draws.normal(),
    );
    tensors.set(name, values);
  }
  return tensors;
}

/** The tensors as a checkpoint on disk, converted for executors. The folder lies where `cleanUp` removes it. */
export async function prepared(config: ModelConfig, tensors: Tensors): Promise<BaseWeights & { cleanUp(): void }> {
  const folder = mkdtempSync(join(tmpdir(), "flame-small-"));
  writeCheckpoint(join(folder, "model"), weightsInMemory(config, tensors));
  const checkpoint = loadCheckpoint(join(folder, "model"));
  const weights = await prepareBaseWeights(checkpoint, join(folder, "cache"));
  checkpoint.close();
  return { ...weights, cleanUp: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Every factor random, so that no gradient is zero by accident. */
export function randomAdapter({ size }: AdapterLayout, seed: number): Float32Array {
  const draws = new Rng(seed).at("adapter").at(0);
  return Float32Array.from({ length: size }, () => 0.3 * draws.normal());
}

/** Rows of tokens with loss on every token from the second on, padded with 0 to `length`. */
export function batchOf(rows: readonly (readonly number[])[], length: number): Batch {
  const ids = new Int32Array(rows.length * length);
  const lossPositions: number[] = [];
  const targets: number[] = [];
  for (const [row, tokens] of rows.entries()) {
    ids.set(tokens, row * length);
    for (let at = 1; at < tokens.length; at++) {
      lossPositions.push(row * length + at - 1);
      targets.push(tokens[at]!);
    }
  }
  return {
    rows: rows.length,
    length,
    inputs: { ids },
    lengths: Int32Array.from(rows, (tokens) => tokens.length),
    lossPositions: Int32Array.from(lossPositions),
    targets: Int32Array.from(targets),
  };
}

export const randomTokens = (draws: Draws, count: number): number[] =>
  Array.from({ length: count }, () => draws.below(smallModel.vocabulary));

/** What a program reads of a batch, as plain numbers. */
export function batchNumbers({ rows, length, inputs, lengths, lossPositions, targets }: Batch, experts: number) {
  const padding = Array.from({ length: rows * length }, (_, at) =>
    at % length < lengths[Math.floor(at / length)]! ? 0 : experts,
  );
  return { ids: idsOf({ inputs }), padding, positions: lossPositions, targets, inverseCount: [1 / targets.length] };
}

/** Every tensor of a model that fits in memory. */
export function readAll(source: WeightSource): Map<string, Float32Array> {
  const tensors = new Map<string, Float32Array>();
  for (const [name, shape] of baseWeightShapes(source.config)) {
    const values = new Float32Array(sizeOf(shape));
    source.read(name, values);
    tensors.set(name, values);
  }
  return tensors;
}

/** One model's evaluation, from what training starts with. */
export const evaluationOf = ({ batches, ...model }: Omit<TrainJob, "optimizer" | "method">): EvaluationJob => ({
  models: [model],
  batches,
});
