/**
 * The programs an engine runs: a local training step, an evaluation, and a pre-training step. Each is one native call.
 */
import { gradients } from "../tensor/autodiff.ts";
import { Graph } from "../tensor/graph/graph.ts";
import type { Program, Tensor } from "../tensor/graph/ir.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import { add, argMax, mul, reduceSum, scale } from "../tensor/ops/arithmetic.ts";
import { concat, reshape, split, transpose } from "../tensor/ops/layout.ts";
import { crossEntropy } from "../tensor/ops/nn.ts";
import { type AdamWOptions, type AdamWState, type AdamWStep, adamW, clipFactor } from "../tensor/optimizer.ts";
import { type AdapterLayout, blockNames } from "./adapter.ts";
import { baseWeightShapes } from "./base-weights.ts";
import { clientExperts } from "./client-experts.ts";
import type { ModelConfig } from "./config.ts";
import {
  type Forward,
  type ForwardOptions,
  forward,
  type LayerAdapter,
  type LoraForm,
  logitsAt,
  routerLosses,
} from "./transformer.ts";

export interface StepShape {
  readonly rows: number;
  readonly length: number;
  readonly topK: number;
}

export interface TrainStepOptions extends AdamWOptions {
  /** Whether a global gradient norm is enforced; its value is the input `clipNorm`. */
  readonly clip: boolean;
  /** Whether the factors are decayed; by how much is the input `decay`. */
  readonly decay: boolean;
  readonly form: LoraForm;
}

/** Inputs every program shares: tokens, padding, and where the loss lies. */
interface BatchInputs {
  readonly ids: Tensor;
  readonly padding: Tensor;
  readonly positions: Tensor;
  readonly targets: Tensor;
}

function batchInputs(graph: Graph, { rows, length }: StepShape): BatchInputs {
  const responses = graph.symbol("responses");
  return {
    ids: graph.input("ids", "int32", [rows, length]),
    padding: graph.input("padding", "int32", [rows * length]),
    positions: graph.input("positions", "int32", [responses]),
    targets: graph.input("targets", "int32", [responses]),
  };
}

export function frozenBase(graph: Graph, config: ModelConfig): (name: string) => Tensor {
  const shapes = baseWeightShapes(config);
  return (name) => graph.weight(name, shapes.get(name)!);
}

/** The layers' factors as parts of the flat adapter, in the layout of `adapter.ts`. */
function adapterParts(flat: Tensor, { layers, experts, blocks }: AdapterLayout): LayerAdapter[] {
  const sizes = blocks.map(({ rows, columns }) => experts * rows * columns);
  const parts = split(flat, 0, Array.from({ length: layers }, () => sizes).flat());
  return Array.from({ length: layers }, (_, layer) =>
    byBlock((index) => {
      const { rows, columns } = blocks[index]!;
      return reshape(parts[layer * blocks.length + index]!, [experts, rows, columns]);
    }),
  );
}

export const byBlock = (of: (index: number) => Tensor): LayerAdapter =>
  Object.fromEntries(blockNames.map((name, index) => [name, of(index)])) as unknown as LayerAdapter;

const flatten = (tensors: readonly Tensor[]): Tensor =>
  concat(
    tensors.map((t) => reshape(t, [sizeOf(t.shape)])),
    0,
  );

function loraForward(graph: Graph, config: ModelConfig, layout: AdapterLayout, shape: StepShape, form: LoraForm) {
  const adapter = graph.input("adapter", "float32", [layout.size]);
  const rescaler = graph.input("rescaler", "float32", [config.layers]);
  const inputs = batchInputs(graph, shape);
  const layers = adapterParts(adapter, layout);
  const factors = split(rescaler, 0, new Array<number>(config.layers).fill(1));
  const options: ForwardOptions = {
    graph,
    config,
    ...shape,
    weight: frozenBase(graph, config),
    lora: {
      config: layout.lora,
      form,
      layers,
      rescaler: factors,
      ...(form === "padded" && {
        experts: (layer, rows, gateUp, down) =>
          clientExperts({ config, layout, clients: 1, base: "padded" }, layers[layer]!, rows, gateUp, down).outputs,
      }),
    },
  };
  return { adapter, rescaler, inputs, layers, factors, options, result: forward(options, inputs.ids, inputs.padding) };
}

const stepInputs = (graph: Graph): AdamWStep => ({
  learningRate: graph.input("learningRate", "float32", [1]),
  decay: graph.input("decay", "float32", [1]),
  correction1: graph.input("correction1", "float32", [1]),
  correction2: graph.input("correction2", "float32", [1]),
});

/**
 * One AdamW step of a client's adapter and rescaler.
 *
 * Inputs: `adapter`, `adapterMean`, `adapterVariance` `[layout.size]`; `rescaler`, `rescalerMean`, `rescalerVariance`
 * `[layers]`; the batch; `inverseCount` `[1]` = 1 ÷ loss positions; the scalars of {@link AdamWStep}, with
 * `rescalerLearningRate`; `clipNorm` `[1]` when clipping. Outputs: the new state, `loss` `[1]` before the step, and
 * `activations` `[layers · experts]`.
 */
export function trainStep(
  config: ModelConfig,
  layout: AdapterLayout,
  shape: StepShape,
  options: TrainStepOptions,
): Program {
  const graph = new Graph();
  const model = loraForward(graph, config, layout, shape, options.form);
  const inverseCount = graph.input("inverseCount", "float32", [1]);
  const loss = meanLoss(model.options, model.result, model.inputs, inverseCount);

  const factors = model.layers.flatMap((layer) => blockNames.map((name) => layer[name]));
  const all = gradients(loss, [...factors, ...model.factors]);
  const raw = [flatten(all.slice(0, factors.length)), concat(all.slice(factors.length), 0)] as const;

  const step = stepInputs(graph);
  const rescalerLearningRate = graph.input("rescalerLearningRate", "float32", [1]);
  const clipNorm = options.clip ? graph.input("clipNorm", "float32", [1]) : null;
  const factor = clipNorm && clipFactor(raw, clipNorm);
  const [adapterGradient, rescalerGradient] = factor ? raw.map((g) => mul(g, factor)) : raw;

  const moments = (name: string, size: number) => ({
    mean: graph.input(`${name}Mean`, "float32", [size]),
    variance: graph.input(`${name}Variance`, "float32", [size]),
  });
  const adapterState = { parameters: model.adapter, ...moments("adapter", layout.size) };
  const rescalerState = { parameters: model.rescaler, ...moments("rescaler", config.layers) };
  const adapter = adamW(adapterState, adapterGradient!, step, options, options.decay);
  // The rescaler has its own rate and is never decayed (flame.md §4).
  const rescalerStep = { ...step, learningRate: rescalerLearningRate };
  const rescaler = adamW(rescalerState, rescalerGradient!, rescalerStep, options, false);

  return {
    name: `train ${shape.rows}x${shape.length} k=${shape.topK}`,
    inputs: {
      adapter: model.adapter,
      adapterMean: adapterState.mean,
      adapterVariance: adapterState.variance,
      rescaler: model.rescaler,
      rescalerMean: rescalerState.mean,
      rescalerVariance: rescalerState.variance,
      ...model.inputs,
      inverseCount,
      ...step,
      rescalerLearningRate,
      ...(clipNorm && { clipNorm }),
    },
    outputs: {
      ...stateVectors(adapter, rescaler),
      loss,
      activations: model.result.activations,
    },
  };
}

/** A step's state by the names of its inputs and outputs. */
export const stateVectors = (adapter: AdamWState, rescaler: AdamWState) => ({
  adapter: adapter.parameters,
  adapterMean: adapter.mean,
  adapterVariance: adapter.variance,
  rescaler: rescaler.parameters,
  rescalerMean: rescaler.mean,
  rescalerVariance: rescaler.variance,
});

/** The gradients of one step, for tests: outputs `loss`, `adapter` and `rescaler`. */
export function gradientProgram(config: ModelConfig, layout: AdapterLayout, shape: StepShape, form: LoraForm): Program {
  const graph = new Graph();
  const model = loraForward(graph, config, layout, shape, form);
  const inverseCount = graph.input("inverseCount", "float32", [1]);
  const loss = meanLoss(model.options, model.result, model.inputs, inverseCount);
  const [adapter, rescaler] = gradients(loss, [model.adapter, model.rescaler]);
  return {
    name: `gradient ${shape.rows}x${shape.length} k=${shape.topK}`,
    inputs: { adapter: model.adapter, rescaler: model.rescaler, ...model.inputs, inverseCount },
    outputs: { loss, adapter: adapter!, rescaler: rescaler!, activations: model.result.activations },
  };
}

function meanLoss(options: ForwardOptions, result: Forward, inputs: BatchInputs, inverseCount: Tensor): Tensor {
  const losses = crossEntropy(logitsAt(options, result.hidden, inputs.positions), inputs.targets);
  return mul(reduceSum(losses, [0], true), inverseCount);
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
  const model = loraForward(graph, config, layout, shape, form);
  const { targets } = model.inputs;
  const logits = logitsAt(model.options, model.result.hidden, model.inputs.positions);
  return {
    name: `evaluate ${shape.rows}x${shape.length} k=${shape.topK}`,
    inputs: { adapter: model.adapter, rescaler: model.rescaler, ...model.inputs },
    outputs: {
      losses: crossEntropy(logits, targets),
      predicted: argMax(logits),
      activations: model.result.activations,
      ...(withLogits && { logits }),
    },
  };
}

export interface PretrainOptions extends AdamWOptions {
  /** Coefficients of the router losses; OLMoE: 0.01 and 0.001. */
  readonly balance: number;
  readonly z: number;
}

/**
 * One step of full pre-training: every base weight is trainable, in one flat vector in the order of
 * `baseWeightShapes`. Batches are packed, so no token is padding and every position carries loss.
 */
export function pretrainStep(config: ModelConfig, shape: StepShape, options: PretrainOptions): Program {
  const graph = new Graph();
  const shapes = [...baseWeightShapes(config)].filter(([name]) => !(config.tiedEmbeddings && name === "head"));
  const sizes = shapes.map(([, dims]) => sizeOf(dims));
  const total = sizes.reduce((a, b) => a + b, 0);
  const weights = graph.input("weights", "float32", [total]);
  const parts = new Map(split(weights, 0, sizes).map((part, i) => [shapes[i]![0], reshape(part, shapes[i]![1])]));
  const inputs = batchInputs(graph, shape);
  const weight = (name: string) =>
    name === "head" && config.tiedEmbeddings ? transpose(parts.get("embed")!, [1, 0]) : parts.get(name)!;
  const forwardOptions: ForwardOptions = { graph, config, ...shape, weight };
  const result = forward(forwardOptions, inputs.ids, inputs.padding);
  const inverseCount = graph.input("inverseCount", "float32", [1]);
  const loss = meanLoss(forwardOptions, result, inputs, inverseCount);
  const router = routerLosses(result, shape.rows * shape.length * shape.topK);
  const objective = add(loss, add(scale(router.balance, options.balance), scale(router.z, options.z)));

  const gradient = flatten(
    gradients(
      objective,
      shapes.map(([name]) => parts.get(name)!),
    ),
  );
  const step = stepInputs(graph);
  const clipNorm = graph.input("clipNorm", "float32", [1]);
  const mean = graph.input("mean", "float32", [total]);
  const variance = graph.input("variance", "float32", [total]);
  const clipped = mul(gradient, clipFactor([gradient], clipNorm));
  const next = adamW({ parameters: weights, mean, variance }, clipped, step, options, true);
  return {
    name: `pretrain ${shape.rows}x${shape.length}`,
    inputs: { weights, mean, variance, ...inputs, inverseCount, ...step, clipNorm },
    outputs: {
      weights: next.parameters,
      mean: next.mean,
      variance: next.variance,
      loss,
      balance: router.balance,
      z: router.z,
      activations: result.activations,
    },
  };
}
