/** One step of full pre-training: every base weight is trainable, with OLMoE's router losses. */

import type { RowShape } from "../engine/engine.ts";
import { baseWeightShapes } from "../model/base-weights.ts";
import type { ModelConfig } from "../model/config.ts";
import { headAt } from "../model/head.ts";
import { type Forward, type ForwardOptions, forward } from "../model/transformer.ts";
import { tokenInputs } from "../tasks/llm/task.ts";
import { gradients } from "../tensor/autodiff.ts";
import { Graph } from "../tensor/graph/graph.ts";
import type { Program, Tensor } from "../tensor/graph/ir.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import {
  add,
  cast,
  exp,
  log,
  mul,
  reduceMax,
  reduceMean,
  reduceSum,
  scale,
  square,
  sub,
} from "../tensor/ops/arithmetic.ts";
import { concat, reshape, split, transpose } from "../tensor/ops/layout.ts";
import { type AdamWOptions, type AdamWStep, adamW, clipFactor } from "../tensor/optimizer.ts";

export interface PretrainOptions extends AdamWOptions {
  /** Coefficients of the router losses; OLMoE: 0.01 and 0.001. */
  readonly balance: number;
  readonly z: number;
}

/** Name and shape of every tensor that is trained, in the order of `baseWeightShapes`; a tied head is the embedding. */
export const trainedShapes = (config: ModelConfig): (readonly [name: string, shape: readonly number[]])[] =>
  [...baseWeightShapes(config)].filter(([name]) => !(config.tiedEmbeddings && name === "head"));

/**
 * `weights`, `mean` and `variance` are one flat vector each, of {@link trainedShapes}. Batches are packed, so no token is
 * padding and every position carries loss.
 */
export function pretrainStep(
  config: ModelConfig,
  shape: RowShape & { readonly topK: number },
  options: PretrainOptions,
): Program {
  const { rows, length, topK } = shape;
  const graph = new Graph();
  const shapes = trainedShapes(config);
  const sizes = shapes.map(([, dims]) => sizeOf(dims));
  const total = sizes.reduce((a, b) => a + b, 0);
  const weights = graph.input("weights", "float32", [total]);
  const parts = new Map(split(weights, 0, sizes).map((part, i) => [shapes[i]![0], reshape(part, shapes[i]![1])]));
  const batch = tokenInputs(graph, rows, length);
  const weight = (name: string) =>
    name === "head" && config.tiedEmbeddings ? transpose(parts.get("embed")!, [1, 0]) : parts.get(name)!;
  const forwardOptions: ForwardOptions = { config, rows, length, topK, weight };
  const result = forward(forwardOptions, batch.ids, batch.padding);
  const inverseCount = graph.input("inverseCount", "float32", [1]);
  const losses = headAt(forwardOptions, result.hidden, batch.positions, batch.targets).losses();
  const loss = mul(reduceSum(losses, [0], true), inverseCount);
  const router = routerLosses(result, rows * length * topK);
  const objective = add(loss, add(scale(router.balance, options.balance), scale(router.z, options.z)));

  const trained = shapes.map(([name]) => parts.get(name)!);
  const gradient = concat(
    gradients(objective, trained).map((t) => reshape(t, [sizeOf(t.shape)])),
    0,
  );
  const step = adamWInputs(graph);
  const clipNorm = graph.input("clipNorm", "float32", [1]);
  const mean = graph.input("mean", "float32", [total]);
  const variance = graph.input("variance", "float32", [total]);
  const clipped = mul(gradient, clipFactor([gradient], clipNorm));
  const next = adamW({ parameters: weights, mean, variance }, clipped, step, options, true);
  return {
    name: `pretrain ${rows}x${length}`,
    inputs: { weights, mean, variance, ...batch, inverseCount, ...step, clipNorm },
    outputs: {
      weights: next.parameters,
      mean: next.mean,
      variance: next.variance,
      loss,
      ...router,
      activations: result.activations,
    },
  };
}

/**
 * OLMoE's router losses, averaged over layers; all tokens count, so the batch must hold no padding.
 *
 *   balance = M · Σ_e f_e·P_e    f_e share of assignments, P_e mean probability; 1 when balanced
 *   z       = mean over tokens of (log Σ exp logits)²
 */
function routerLosses({ routers }: Forward, assignments: number): { balance: Tensor; z: Tensor } {
  const perLayer = routers.map(({ logits, probabilities, counts }) => {
    const [tokens, experts] = probabilities.shape as [number, number];
    const share = scale(cast(counts, "float32"), 1 / assignments);
    const mean = scale(reduceSum(probabilities, [0]), 1 / tokens);
    const top = reduceMax(logits, [1], true);
    const logSum = add(log(reduceSum(exp(sub(logits, top)), [1], true)), top);
    return {
      balance: scale(reduceSum(mul(share, mean), [0], true), experts),
      z: reshape(reduceMean(square(logSum), [0, 1], true), [1]),
    };
  });
  const average = (terms: Tensor[]) =>
    scale(
      terms.reduce((a, b) => add(a, b)),
      1 / terms.length,
    );
  return { balance: average(perLayer.map((l) => l.balance)), z: average(perLayer.map((l) => l.z)) };
}

const adamWInputs = (graph: Graph): AdamWStep => ({
  learningRate: graph.input("learningRate", "float32", [1]),
  decay: graph.input("decay", "float32", [1]),
  correction1: graph.input("correction1", "float32", [1]),
  correction2: graph.input("correction2", "float32", [1]),
});
