/** The training step that benchmarks time: the configuration of `bench/peers` with random weights. */
import { Rng } from "../src/base/random.ts";
import type { Batch } from "../src/data/batches.ts";
import { type BaseWeights, baseWeightShapes, weightsInMemory } from "../src/model/base-weights.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { loadCheckpoint } from "../src/model/formats/checkpoint.ts";
import { prepareBaseWeights } from "../src/model/formats/prepare-weights.ts";
import { writeCheckpoint } from "../src/model/formats/write-checkpoint.ts";
import { embeddedConfig } from "../src/pretraining/pretrainer.ts";
import { loraFormFor } from "../src/tasks/llm/lora-form.ts";
import { llmTask } from "../src/tasks/llm/task.ts";
import { TaskEngine } from "../src/tasks/task-engine.ts";
import type { TrainJob } from "../src/tasks/training-engine.ts";
import { OnnxExecutor } from "../src/tensor/executors/onnx.ts";
import { sizeOf } from "../src/tensor/graph/shape.ts";

export const benchConfig: ModelConfig = { ...embeddedConfig, vocabulary: 512 };
export const benchRank = 8;

/** A model of 200 MB, for measurements of memory. */
export const largeConfig: ModelConfig = { ...benchConfig, width: 512, expertWidth: 512 };

export async function randomWeights(folder: string, config = benchConfig): Promise<BaseWeights> {
  const tensors = new Map<string, Float32Array>();
  for (const [index, [name, shape]] of [...baseWeightShapes(config)].entries()) {
    const draws = new Rng(1).at("weights").at(index);
    const values = new Float32Array(sizeOf(shape));
    const deviation = 1 / Math.sqrt(shape.at(-2) ?? 1);
    for (let i = 0; i < values.length; i++) values[i] = /norm$/i.test(name) ? 1 : deviation * draws.normal();
    tensors.set(name, values);
  }
  writeCheckpoint(`${folder}/model`, weightsInMemory(config, tensors));
  return prepareBaseWeights(loadCheckpoint(`${folder}/model`), folder);
}

export function benchEngine(
  weights: BaseWeights,
  form = loraFormFor(weights.config),
  executor = new OnnxExecutor(),
): TaskEngine {
  const task = llmTask({ config: weights.config, lora: { rank: benchRank, alpha: 16 }, form });
  return new TaskEngine(executor, task, weights);
}

/** Ten steps over full rows with loss on every token, as the peers do. */
export function benchJob(
  adapterSize: number,
  topK: number,
  { rows = 4, length = 128, layers = benchConfig.layers } = {},
): TrainJob {
  const draws = new Rng(2).at("bench").at(topK);
  const adapter = Float32Array.from({ length: adapterSize }, () => 0.05 * draws.normal());
  const batches = Array.from({ length: 10 }, (): Batch => {
    const ids = Int32Array.from({ length: rows * length }, () => draws.below(benchConfig.vocabulary));
    const lossPositions = Int32Array.from(ids.keys()).filter((position) => (position + 1) % length !== 0);
    const targets = lossPositions.map((position) => ids[position + 1]!);
    return { rows, length, inputs: { ids }, lengths: new Int32Array(rows).fill(length), lossPositions, targets };
  });
  const optimizer = {
    learningRate: 1e-3,
    personalLearningRate: 1e-2,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weightDecay: 0,
    clipNorm: null,
  };
  return {
    parameters: adapter,
    personal: new Float32Array(layers).fill(1),
    variant: { topK },
    batches,
    optimizer,
  };
}
