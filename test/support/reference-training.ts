/** Training and evaluation of the small model in float64, from the same programs that the engines compile. */
import type { Batch } from "../../src/data/batches.ts";
import type { AdapterLayout } from "../../src/model/adapter.ts";
import { baseWeightShapes } from "../../src/model/base-weights.ts";
import { headAt } from "../../src/model/head.ts";
import { forward } from "../../src/model/transformer.ts";
import type { TrainJob } from "../../src/tasks/training-engine.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { evaluationOf, stepOf } from "./llm-programs.ts";
import { interpret, type Numbers } from "./reference.ts";
import { batchNumbers, smallModel as config, type Tensors } from "./small-model.ts";

/** Losses, predictions and counts of the base model, from the program without LoRA and in float64. */
export function baseModel(tensors: Tensors, batch: Batch): Record<string, Float64Array> {
  const graph = new Graph();
  const { rows, length } = batch;
  const shapes = baseWeightShapes(config);
  const weight = (name: string) => graph.weight(name, shapes.get(name)!);
  const options = { graph, config, rows, length, topK: config.topK, weight };
  const symbol = graph.symbol("responses");
  const inputs = {
    ids: graph.input("ids", "int32", [rows, length]),
    padding: graph.input("padding", "int32", [rows * length]),
    positions: graph.input("positions", "int32", [symbol]),
    targets: graph.input("targets", "int32", [symbol]),
  };
  const { hidden, activations } = forward(options, inputs.ids, inputs.padding);
  const said = headAt(options, hidden, inputs.positions, inputs.targets);
  const outputs = { losses: said.losses(), predicted: said.predicted(), activations };
  return interpret({ name: "base", inputs, outputs }, batchNumbers(batch, config.experts), Object.fromEntries(tensors));
}

type Trainable = { readonly adapter: ArrayLike<number>; readonly rescaler: ArrayLike<number>; readonly topK: number };

/** Mean loss of a batch. */
export function meanLoss(
  tensors: Tensors,
  layout: AdapterLayout,
  batch: Batch,
  { adapter, rescaler, topK }: Trainable,
): number {
  const program = evaluationOf(config, layout, { rows: batch.rows, length: batch.length, topK }, "factored");
  const feeds = { parameters: adapter, personal: rescaler, ...batchNumbers(batch, config.experts) };
  const { losses } = interpret(program, feeds, Object.fromEntries(tensors));
  return losses!.reduce((a, b) => a + b, 0) / losses!.length;
}

/** A whole local training, step after step in float64. */
export function referenceTraining(
  tensors: Tensors,
  layout: AdapterLayout,
  job: TrainJob,
): Record<string, ArrayLike<number>> {
  const { parameters: adapter, personal: rescaler, batches, optimizer } = job;
  const topK = job.variant.topK as number;
  const { learningRate, personalLearningRate, beta1, beta2, weightDecay, clipNorm } = optimizer;
  const zeros = (values: ArrayLike<number>) => new Float64Array(values.length);
  let state: Numbers = {
    parameters: adapter,
    parametersMean: zeros(adapter),
    parametersVariance: zeros(adapter),
    personal: rescaler,
    personalMean: zeros(rescaler),
    personalVariance: zeros(rescaler),
  };
  const losses: number[] = [];
  const activations = new Float64Array(config.layers * config.experts);
  for (const [step, batch] of batches.entries()) {
    const shape = { rows: batch.rows, length: batch.length, topK };
    const program = stepOf(config, layout, shape, { ...optimizer, clip: true, decay: true, form: "factored" });
    const feeds = {
      ...state,
      ...batchNumbers(batch, config.experts),
      learningRate: [learningRate],
      personalLearningRate: [personalLearningRate],
      decay: [learningRate * weightDecay],
      correction1: [1 / (1 - beta1 ** (step + 1))],
      correction2: [1 / (1 - beta2 ** (step + 1))],
      clipNorm: [clipNorm!],
    };
    const outputs = interpret(program, feeds, Object.fromEntries(tensors));
    losses.push(outputs.loss![0]!);
    for (const [expert, count] of outputs.counts!.entries()) activations[expert]! += count;
    state = outputs;
  }
  return { adapter: state.parameters!, rescaler: state.personal!, losses, activations };
}
