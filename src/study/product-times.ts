/**
 * How long this machine takes for a training step of a model, without its weights: products of the model's own sizes are
 * timed, on made-up numbers stored as the base weights would be.
 *
 *   step = (E·(F(1) − F(0)) ÷ 2·τ(T·k ÷ E) + F(0) ÷ 2·τ(T)) · (FLOP with LoRA ÷ FLOP without)
 *
 *   T      tokens of a batch
 *   F(k)   FLOP of a token's forward pass at budget k: half of F(1) − F(0) is the weights of an expert in each layer
 *   E      experts of a layer that a batch is expected to reach, M·(1 − (1 − k ÷ M)^T), each with T·k ÷ E rows
 *   τ(r)   time in which r rows pass a weight and their gradients pass it back, measured
 *
 * Softmax, norms, routing and the optimizer are not in it, and every token has logits, where real steps make them only where
 * there is loss: on large models the estimate is right to about a factor of two, on small ones far too low.
 */
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { inScratch, writeFully } from "../base/disk.ts";
import { Rng } from "../base/random.ts";
import { forwardFlops, trainingFlops } from "../model/accounting.ts";
import type { BaseForm } from "../model/base-weights.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Executor, WeightSource } from "../tensor/executors/executor.ts";
import { Graph } from "../tensor/graph/graph.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { narrowBfloat } from "../tensor/stored/half.ts";
import { quantise } from "../tensor/stored/quantise.ts";
import type { StoredTensor } from "../tensor/stored/stored.ts";

export interface StepSize {
  /** Of a batch. */
  readonly tokens: number;
  /** Of the LoRA on every expert. */
  readonly rank: number;
}

/** @returns seconds of a step at each budget */
export async function stepSeconds(
  executor: Executor,
  config: ModelConfig,
  budgets: readonly number[],
  form: BaseForm,
  { tokens, rank }: StepSize,
): Promise<number[]> {
  const { experts } = config;
  const reached = budgets.map((k) => experts * (1 - (1 - k / experts) ** tokens));
  const rows = budgets.map((k, at) => Math.max(1, Math.round((tokens * k) / reached[at]!)));
  const times = await secondsPerWeight(executor, config, form, [...new Set([tokens, ...rows])]);
  const others = forwardFlops(config, 0) / 2;
  const expert = forwardFlops(config, 1) / 2 - others;
  return budgets.map((k, at) => {
    const withLora = trainingFlops(config, k, rank) / (2 * forwardFlops(config, k));
    return (reached[at]! * expert * times.get(rows[at]!)! + others * times.get(tokens)!) * withLora;
  });
}

/** Float32 bytes of the matrices that a run goes through in turn, so that none is found in a cache; and as many at most. */
const passedBytes = 64 << 20;
const mostMatrices = 32;
/** Repetitions of a product: at least so many, and until so many milliseconds have passed. */
const leastRuns = 3;
const timedMs = 100;

/** Rows → seconds in which they pass one weight, forward and back. */
async function secondsPerWeight(
  executor: Executor,
  { width, expertWidth }: ModelConfig,
  form: BaseForm,
  rowCounts: readonly number[],
): Promise<Map<number, number>> {
  const shape = [width, 2 * expertWidth] as const;
  const count = Math.min(mostMatrices, Math.ceil(passedBytes / (4 * width * 2 * expertWidth)));
  return inScratch("products", async (folder) => {
    const weights = madeUp(join(folder, "weights.bin"), shape, count, form);
    const times = new Map<number, number>();
    for (const rows of rowCounts) {
      const seconds = await secondsOfRun(executor, weights, shape, rows);
      times.set(rows, seconds / (count * width * 2 * expertWidth));
    }
    return times;
  });
}

/** x·W·Wᵀ for every matrix, which is what a product and the gradient of its input take. */
async function secondsOfRun(
  executor: Executor,
  weights: WeightSource,
  shape: readonly [number, number],
  rows: number,
): Promise<number> {
  const graph = new Graph();
  const x = graph.input("x", "float32", [rows, shape[0]]);
  const products = [...weights.tensors.keys()].map((name): Tensor => {
    const weight = graph.weight(name, shape);
    return matmul(matmul(x, weight), weight, { transposeB: true });
  });
  const program = { name: `products-${rows}`, inputs: { x }, outputs: { sum: products.reduce(add) } };
  const executable = await executor.compile(program, weights);
  try {
    const feeds = { x: noise(rows * shape[0]) };
    await executable.run(feeds);
    // The fastest: what else the machine does is not the model's.
    let least = Infinity;
    const begun = performance.now();
    for (let runs = 0; runs < leastRuns || performance.now() - begun < timedMs; runs++) {
      const since = performance.now();
      await executable.run(feeds);
      least = Math.min(least, performance.now() - since);
    }
    return least / 1_000;
  } finally {
    executable.dispose();
  }
}

/** A file of `count` matrices as base weights of that form would be. */
function madeUp(path: string, shape: readonly [number, number], count: number, form: BaseForm): WeightSource {
  const { type, values, scales } = stored(noise(shape[0] * shape[1]), shape[1], form);
  const tensors = new Map<string, StoredTensor>();
  const file = openSync(path, "wx");
  let end = 0;
  const place = (bytes: Uint8Array): number => {
    const offset = end;
    writeFully(file, bytes, offset);
    end = Math.ceil((offset + bytes.length) / 4096) * 4096;
    return offset;
  };
  try {
    for (let at = 0; at < count; at++) {
      const offset = place(values);
      tensors.set(`w${at}`, { offset, shape, ...(type && { type }), ...(scales && { scales: place(scales) }) });
    }
  } finally {
    closeSync(file);
  }
  return { path, tensors };
}

interface Stored extends Pick<StoredTensor, "type"> {
  readonly values: Uint8Array;
  readonly scales?: Uint8Array;
}

function stored(values: Float32Array, columns: number, form: BaseForm): Stored {
  if (form === "f32") return { values: bytesOf(values) };
  if (form === "half") {
    const patterns = new Uint16Array(values.length);
    narrowBfloat(values, patterns);
    return { type: "bfloat16", values: bytesOf(patterns) };
  }
  const { integers, scales } = quantise(values, columns, form, new Float32Array(values.length));
  return { type: form, values: integers, scales: bytesOf(scales) };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array) =>
  new Uint8Array(buffer, byteOffset, byteLength);

function noise(size: number): Float32Array {
  const draws = new Rng(1).at("products").at(0);
  return Float32Array.from({ length: size }, () => draws.uniform() - 0.5);
}
