/** The programs an engine runs: a step of local training and an evaluation. Each run of one is a native call. */
import { gradients } from "../tensor/autodiff.ts";
import { Graph } from "../tensor/graph/graph.ts";
import type { Program, Tensor } from "../tensor/graph/ir.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import { argMax, integerDivide, mul, reduceSum } from "../tensor/ops/arithmetic.ts";
import { scatterAddRows } from "../tensor/ops/index-ops.ts";
import { concat, reshape, split } from "../tensor/ops/layout.ts";
import { crossEntropy } from "../tensor/ops/nn.ts";
import { type AdamWOptions, type AdamWState, type AdamWStep, adamW, clipFactor } from "../tensor/optimizer.ts";
import { adaptedExperts, type LayerAdapter, type LoraForm } from "./adapted-experts.ts";
import { type AdapterLayout, blockNames } from "./adapter.ts";
import { baseWeightShapes } from "./base-weights.ts";
import type { ModelConfig } from "./config.ts";
import { type ForwardOptions, forward, logitsAt } from "./transformer.ts";

export interface StepShape {
  readonly rows: number;
  readonly length: number;
  readonly topK: number;
}

export interface TrainShape extends StepShape {
  /** Clients of one call, each with `rows` of its own; 1 unless given. */
  readonly clients?: number;
}

export interface TrainStepOptions extends AdamWOptions {
  /** Whether a global gradient norm is enforced; its value is the input `clipNorm`. */
  readonly clip: boolean;
  /** Whether the factors are decayed; by how much is the input `decay`. */
  readonly decay: boolean;
  readonly form: LoraForm;
}

/** Inputs every program shares: tokens, padding, and where the loss lies. */
export interface BatchInputs {
  readonly ids: Tensor;
  readonly padding: Tensor;
  readonly positions: Tensor;
  readonly targets: Tensor;
}

export function batchInputs(graph: Graph, rows: number, length: number): BatchInputs {
  const responses = graph.symbol("responses");
  return {
    ids: graph.input("ids", "int32", [rows, length]),
    padding: graph.input("padding", "int32", [rows * length]),
    positions: graph.input("positions", "int32", [responses]),
    targets: graph.input("targets", "int32", [responses]),
  };
}

/**
 * One AdamW step of a client's adapter and rescaler, or of several clients', each on its own batch.
 *
 * Inputs: `adapter`, `adapterMean`, `adapterVariance` `[layout.size]`; `rescaler`, `rescalerMean`, `rescalerVariance`
 * `[layers]`; the batch; `inverseCount` `[1]` = 1 ÷ loss positions; the scalars of {@link AdamWStep}, with
 * `rescalerLearningRate`; `clipNorm` `[1]` when clipping. Outputs: the new state, `loss` `[1]` before the step, and
 * `activations` `[layers · experts]`.
 *
 * Several clients share a call on devices that are faster at one large call than at many small ones. State and rates then
 * are `[clients, …]`: a client with rates of 0 keeps its parameters. Rows of the batch lie client after client, positions
 * count through all of them, and everything frozen sees the tokens of all clients as one. `inverseCount` is given for each
 * loss position, `loss` is `[clients]` and `activations` `[layers · experts · clients]`. No sum runs over clients, so a
 * result is what the client would have had alone, but for the order in which a product sums its terms.
 */
export function trainStep(
  config: ModelConfig,
  layout: AdapterLayout,
  shape: TrainShape,
  options: TrainStepOptions,
): Program {
  const { clients = 1, rows, length, topK } = shape;
  const graph = new Graph();
  const model = adaptedForward(graph, config, layout, shape, options.form);
  const { positions, targets } = model.batch;
  const losses = crossEntropy(logitsAt(model.options, model.hidden, positions), targets);
  const inverseCount = graph.input("inverseCount", "float32", clients === 1 ? [1] : positions.shape);
  const loss =
    clients === 1
      ? mul(reduceSum(losses, [0], true), inverseCount)
      : scatterAddRows(mul(losses, inverseCount), integerDivide(positions, rows * length), clients);

  const factors = model.layers.flatMap((layer) => blockNames.map((name) => layer[name]));
  const all = gradients(clients === 1 ? loss : reduceSum(loss, [0], true), [...factors, ...model.scales]);
  const flat = (tensors: readonly Tensor[]) =>
    concat(
      tensors.map((t) => reshape(t, perClient(clients, sizeOf(t.shape) / clients))),
      -1,
    );
  const raw = [flat(all.slice(0, factors.length)), flat(all.slice(factors.length))] as const;
  const clipNorm = options.clip ? graph.input("clipNorm", "float32", [1]) : null;
  const factor = clipNorm && clipFactor(raw, clipNorm);
  const [adapterGradient, rescalerGradient] = factor ? raw.map((g) => mul(g, factor)) : raw;

  const state = (parameters: Tensor, name: string): AdamWState => ({
    parameters,
    mean: graph.input(`${name}Mean`, "float32", parameters.shape),
    variance: graph.input(`${name}Variance`, "float32", parameters.shape),
  });
  const adapter = state(model.adapter, "adapter");
  const rescaler = state(model.rescaler, "rescaler");
  const step = adamWInputs(graph, perClient(clients, 1));
  const nextAdapter = adamW(adapter, adapterGradient!, step, options, options.decay);
  // The rescaler has its own rate and is never decayed (flame.md §4).
  const rescalerLearningRate = graph.input("rescalerLearningRate", "float32", perClient(clients, 1));
  const rescalerStep = { ...step, learningRate: rescalerLearningRate };
  const nextRescaler = adamW(rescaler, rescalerGradient!, rescalerStep, options, false);

  return {
    name: `train ${clients === 1 ? "" : `${clients} clients `}${rows}x${length} k=${topK}`,
    inputs: {
      ...stateVectors(adapter, rescaler),
      ...model.batch,
      inverseCount,
      ...step,
      rescalerLearningRate,
      ...(clipNorm && { clipNorm }),
    },
    outputs: { ...stateVectors(nextAdapter, nextRescaler), loss, activations: model.activations },
  };
}

/** Outputs `losses` and `predicted` at each loss position, and `activations`; with `logits` also the logits. */
export function evaluationProgram(
  config: ModelConfig,
  layout: AdapterLayout,
  shape: StepShape,
  form: LoraForm,
  withLogits = false,
): Program {
  const graph = new Graph();
  const { adapter, rescaler, batch, options, hidden, activations } = adaptedForward(graph, config, layout, shape, form);
  const logits = logitsAt(options, hidden, batch.positions);
  return {
    name: `evaluate ${shape.rows}x${shape.length} k=${shape.topK}`,
    inputs: { adapter, rescaler, ...batch },
    outputs: {
      losses: crossEntropy(logits, batch.targets),
      predicted: argMax(logits),
      activations,
      ...(withLogits && { logits }),
    },
  };
}

/** The inputs of {@link AdamWStep}. */
export const adamWInputs = (graph: Graph, rate: readonly number[] = [1]): AdamWStep => ({
  learningRate: graph.input("learningRate", "float32", rate),
  decay: graph.input("decay", "float32", rate),
  correction1: graph.input("correction1", "float32", [1]),
  correction2: graph.input("correction2", "float32", [1]),
});

/** The shape of what each client has `size` numbers of. */
const perClient = (clients: number, size: number): number[] => (clients === 1 ? [size] : [clients, size]);

/** The model with adapters and rescalers as inputs. */
function adaptedForward(graph: Graph, config: ModelConfig, layout: AdapterLayout, shape: TrainShape, form: LoraForm) {
  const { clients = 1, rows, length, topK } = shape;
  const adapter = graph.input("adapter", "float32", perClient(clients, layout.size));
  const rescaler = graph.input("rescaler", "float32", perClient(clients, config.layers));
  const batch = batchInputs(graph, clients * rows, length);
  const layers = layerAdapters(adapter, layout, clients);
  const scales = split(rescaler, -1, new Array<number>(config.layers).fill(1));
  const forEachToken = (scale: Tensor) => {
    const ones = graph.constant(new Array<number>(rows * length).fill(1), [1, rows * length]);
    return reshape(mul(scale, ones), [clients * rows * length, 1]);
  };
  const weights = baseWeightShapes(config);
  const options: ForwardOptions = {
    config,
    rows: clients * rows,
    length,
    topK,
    weight: (name) => graph.weight(name, weights.get(name)!),
    adapted: {
      rescaler: clients === 1 ? scales : scales.map(forEachToken),
      experts: adaptedExperts({ layout, clients, form }, layers),
    },
  };
  const { hidden, activations } = forward(options, batch.ids, batch.padding);
  return { adapter, rescaler, batch, layers, scales, options, hidden, activations };
}

/** The layers' factors as parts of the flat adapters. */
function layerAdapters(flat: Tensor, { layers, experts, blocks }: AdapterLayout, clients: number): LayerAdapter[] {
  const sizes = blocks.map(({ rows, columns }) => experts * rows * columns);
  const parts = split(flat, -1, Array.from({ length: layers }, () => sizes).flat());
  return Array.from({ length: layers }, (_, layer) => {
    const [gateUpA, gateB, upB, downA, downB] = blocks.map(({ rows, columns }, index) =>
      reshape(parts[layer * blocks.length + index]!, [clients * experts, rows, columns]),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    return { gateUpA, gateB, upB, downA, downB };
  });
}

/** A step's state by the names of its inputs and outputs. */
const stateVectors = (adapter: AdamWState, rescaler: AdamWState) => ({
  adapter: adapter.parameters,
  adapterMean: adapter.mean,
  adapterVariance: adapter.variance,
  rescaler: rescaler.parameters,
  rescalerMean: rescaler.mean,
  rescalerVariance: rescaler.variance,
});
