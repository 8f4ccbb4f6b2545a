/**
 * The training step of several clients at once, for a device that is faster at one large call than at many small ones.
 *
 * Rows of a batch lie client after client, and everything frozen sees the tokens of all clients as one. What is a
 * client's own has a client axis: LoRA (`client-experts.ts`), and the optimizer, which works on `[clients, layout.size]`. No sum runs over clients, so a result
 * is what the client would have had alone, but for the order in which a product sums its terms.
 *
 * LoRA is factored here whatever the model: to merge it into the base weights would copy every expert for every client.
 */
import { gradients } from "../tensor/autodiff.ts";
import { Graph } from "../tensor/graph/graph.ts";
import type { Program, Tensor } from "../tensor/graph/ir.ts";
import { type SymbolicDim, sizeOf } from "../tensor/graph/shape.ts";
import { integerDivide, mul, reduceSum } from "../tensor/ops/arithmetic.ts";
import { scatterAddRows } from "../tensor/ops/index-ops.ts";
import { concat, reshape, split } from "../tensor/ops/layout.ts";
import { crossEntropy } from "../tensor/ops/nn.ts";
import { adamW, clipFactor } from "../tensor/optimizer.ts";
import { type AdapterLayout, blockNames } from "./adapter.ts";
import { type BaseProducts, clientExperts } from "./client-experts.ts";
import type { ModelConfig } from "./config.ts";
import { byBlock, frozenBase, type StepShape, stateVectors, type TrainStepOptions } from "./programs.ts";
import { type ForwardOptions, forward, type LayerAdapter, logitsAt } from "./transformer.ts";

export interface MergedShape extends StepShape {
  /** Clients of one call; `rows` are each client's own. */
  readonly clients: number;
}

export interface MergedStepOptions extends Omit<TrainStepOptions, "form"> {
  readonly base: BaseProducts;
}

/**
 * One AdamW step of every client's adapter and rescaler, each on its own batch.
 *
 * As `trainStep`, with these differences. State is `[clients, …]`. The batch has `clients · rows` rows, its positions
 * count through all of them, and `inverseCounts` `[responses]` gives each position 1 ÷ the loss positions of its client.
 * `learningRate`, `rescalerLearningRate` and `decay` are `[clients, 1]`: a client with rates of 0 keeps its parameters.
 * `losses` is `[clients]`, and `activations` `[layers · experts · clients]`.
 */
export function mergedTrainStep(
  config: ModelConfig,
  layout: AdapterLayout,
  shape: MergedShape,
  options: MergedStepOptions,
): Program {
  const { clients, rows, length, topK } = shape;
  const graph = new Graph();
  const state = (name: string, size: number) => ({
    parameters: graph.input(name, "float32", [clients, size]),
    mean: graph.input(`${name}Mean`, "float32", [clients, size]),
    variance: graph.input(`${name}Variance`, "float32", [clients, size]),
  });
  const adapter = state("adapter", layout.size);
  const rescaler = state("rescaler", config.layers);
  const responses = graph.symbol("responses");
  const batch = {
    ids: graph.input("ids", "int32", [clients * rows, length]),
    padding: graph.input("padding", "int32", [clients * rows * length]),
    positions: graph.input("positions", "int32", [responses]),
    targets: graph.input("targets", "int32", [responses]),
    inverseCounts: graph.input("inverseCounts", "float32", [responses]),
  };

  const layers = factorsOf(adapter.parameters, layout, clients);
  const factors = split(rescaler.parameters, 1, new Array<number>(config.layers).fill(1));
  const everyToken = graph.constant(new Array<number>(rows * length).fill(1), [1, rows * length]);
  const counts: Tensor[] = [];
  const forwardOptions: ForwardOptions = {
    graph,
    config,
    rows: clients * rows,
    length,
    topK,
    weight: frozenBase(graph, config),
    lora: {
      config: layout.lora,
      form: "factored",
      layers: [],
      rescaler: factors.map((s) => reshape(mul(s, everyToken), [clients * rows * length, 1])),
      experts(layer, dispatched, gateUp, down) {
        const experts = { config, layout, clients, base: options.base };
        const mixed = clientExperts(experts, layers[layer]!, dispatched, gateUp, down);
        counts[layer] = mixed.counts;
        return mixed.outputs;
      },
    },
  };
  const { hidden } = forward(forwardOptions, batch.ids, batch.padding);
  const entropies = crossEntropy(logitsAt(forwardOptions, hidden, batch.positions), batch.targets);
  const client = integerDivide(batch.positions, rows * length);
  const losses = scatterAddRows(mul(entropies, batch.inverseCounts), client, clients);

  const trainable = layers.flatMap((layer) => blockNames.map((name) => layer[name]));
  const all = gradients(reduceSum(losses, [0], true), [...trainable, ...factors]);
  const perClient = (tensors: readonly Tensor[]) =>
    concat(
      tensors.map((t) => reshape(t, [clients, sizeOf(t.shape) / clients])),
      1,
    );
  const raw = [perClient(all.slice(0, trainable.length)), perClient(all.slice(trainable.length))] as const;
  const clipNorm = options.clip ? graph.input("clipNorm", "float32", [1]) : null;
  const factor = clipNorm && clipFactor(raw, clipNorm);
  const [adapterGradient, rescalerGradient] = factor ? raw.map((g) => mul(g, factor)) : raw;

  const step = {
    learningRate: graph.input("learningRate", "float32", [clients, 1]),
    decay: graph.input("decay", "float32", [clients, 1]),
    correction1: graph.input("correction1", "float32", [1]),
    correction2: graph.input("correction2", "float32", [1]),
  };
  const rescalerLearningRate = graph.input("rescalerLearningRate", "float32", [clients, 1]);
  const nextAdapter = adamW(adapter, adapterGradient!, step, options, options.decay);
  const rescalerStep = { ...step, learningRate: rescalerLearningRate };
  const nextRescaler = adamW(rescaler, rescalerGradient!, rescalerStep, options, false);
  return {
    name: `train ${clients} clients ${rows}x${length} k=${topK}`,
    inputs: {
      ...stateVectors(adapter, rescaler),
      ...batch,
      ...step,
      rescalerLearningRate,
      ...(clipNorm && { clipNorm }),
    },
    outputs: { ...stateVectors(nextAdapter, nextRescaler), losses, activations: concat(counts, 0) },
  };
}

/** What the sizes known at run time can be expected to be, for an estimate of memory: all loss, no padding. */
export const expectedSizes =
  ({ experts }: ModelConfig, { clients, rows, length, topK }: MergedShape) =>
  ({ symbol, groups }: SymbolicDim): number => {
    const tokens = rows * length;
    if (groups !== undefined) return clients * tokens * topK;
    // The fullest of 16 experts of 24 clients received 1.5, 2, 3 and 4.5 times its share with k = 8, 4, 2 and 1, and a token
    // never twice.
    if (symbol.startsWith("longest")) return Math.min(tokens, Math.ceil(((1 + 4 / topK) * tokens * topK) / experts));
    return clients * tokens;
  };

/** The layers' factors as parts of the clients' flat adapters: `[clients · experts, rows, columns]`, client after client. */
function factorsOf(flat: Tensor, { layers, experts, blocks }: AdapterLayout, clients: number): LayerAdapter[] {
  const sizes = blocks.map(({ rows, columns }) => experts * rows * columns);
  const parts = split(flat, 1, Array.from({ length: layers }, () => sizes).flat());
  return Array.from({ length: layers }, (_, layer) =>
    byBlock((index) => {
      const { rows, columns } = blocks[index]!;
      return reshape(parts[layer * blocks.length + index]!, [clients * experts, rows, columns]);
    }),
  );
}
