/**
 * Pre-training of a small base model on the generated corpus: every base weight is trained, with OLMoE's router losses.
 *
 * Step n reads batch n of the corpus, and everything that carries over is in {@link PretrainState}: a run that was
 * stopped goes on to the same bytes.
 *
 * Recipe after Muennighoff et al., "OLMoE", 2024, https://arxiv.org/abs/2409.02060: truncated-normal initialisation,
 * AdamW with betas 0.9 and 0.95, decay 0.1, warm-up and cosine to a tenth, losses LM + 0.01·balance + 0.001·z.
 */
import { InvariantError, invariant } from "../base/errors.ts";
import { Rng } from "../base/random.ts";
import { type Batch, idsOf } from "../data/batches.ts";
import { byteTokenizer } from "../data/tokenizer.ts";
import { type WeightSource, weightsInMemory } from "../model/base-weights.ts";
import { type ModelConfig, plainSettings } from "../model/config.ts";
import { transposeInto } from "../model/formats/transpose.ts";
import type { Executable, Executor } from "../tensor/executors/executor.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import { corpusBatch } from "./corpus.ts";
import { instructionBatch } from "./instruction-corpus.ts";
import { pretrainStep, trainedShapes } from "./pretrain-step.ts";

export interface PretrainRecipe {
  readonly seed: number;
  readonly steps: number;
  readonly warmupSteps: number;
  /** Rows and tokens of one step. */
  readonly rows: number;
  readonly length: number;
  /** Peak step size; the schedule ends at a tenth of it. */
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly clipNorm: number;
  /** Standard deviation of the initial matrices, cut at three of it. */
  readonly initialDeviation: number;
}

/** The embedded base model, and how it was made. */
export const embeddedConfig: ModelConfig = {
  vocabulary: byteTokenizer.vocabulary,
  layers: 4,
  width: 128,
  heads: 4,
  keyValueHeads: 4,
  experts: 16,
  expertWidth: 64,
  topK: 8,
  maxTokens: 256,
  ...plainSettings,
};

const embeddedRecipe: PretrainRecipe = {
  seed: 1,
  steps: 4_000,
  warmupSteps: 100,
  rows: 16,
  length: 128,
  learningRate: 3e-3,
  weightDecay: 0.1,
  clipNorm: 1,
  initialDeviation: 0.06,
};

/** A base model that is made here: its shape, how it is trained, and on what. */
export interface Making {
  readonly config: ModelConfig;
  readonly recipe: PretrainRecipe;
  readonly batch: typeof corpusBatch;
}

/** The embedded base model, and a dense one, which the task `refactor` cuts into experts. */
export const makings = {
  embedded: { config: embeddedConfig, recipe: embeddedRecipe, batch: corpusBatch },
  dense: {
    config: {
      ...embeddedConfig,
      layers: 3,
      width: 96,
      experts: 1,
      expertWidth: 384,
      topK: 1,
      maxTokens: 128,
    },
    recipe: { ...embeddedRecipe, steps: 1_500 },
    batch: instructionBatch,
  },
} as const satisfies Readonly<Record<string, Making>>;

/** All that a stopped pre-training needs to go on. Vectors are flat, of `trainedShapes`. */
export interface PretrainState {
  readonly step: number;
  readonly weights: Float32Array;
  readonly mean: Float32Array;
  readonly variance: Float32Array;
}

export interface PretrainReport {
  readonly step: number;
  /** Cross-entropy per token, in nats. */
  readonly loss: number;
  /** Load-balancing loss; 1 when balanced. */
  readonly balance: number;
  readonly z: number;
  /** Tokens each expert received, `[layers · experts]`. */
  readonly load: readonly number[];
}

const betas = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };

export class Pretrainer {
  readonly #making: Making;
  readonly #executable: Executable;
  readonly #rng: Rng;
  #current: PretrainState;
  /** Receives the next state; swapped with the current one after every step. */
  #spare: PretrainState;

  private constructor(making: Making, executable: Executable, state: PretrainState) {
    this.#making = making;
    this.#executable = executable;
    this.#rng = new Rng(making.recipe.seed);
    this.#current = state;
    this.#spare = emptyState(state.weights.length);
  }

  /** @param state where to go on; from the start when null */
  static async create(executor: Executor, making: Making, state: PretrainState | null = null): Promise<Pretrainer> {
    const { config, recipe } = making;
    const shape = { rows: recipe.rows, length: recipe.length, topK: config.topK };
    const program = pretrainStep(config, shape, { ...betas, balance: 0.01, z: 0.001 });
    const size = sizeOf(program.inputs.weights!.shape);
    invariant(
      !state || state.weights.length === size,
      () => `state: expected ${size} weights, got ${state?.weights.length}`,
    );
    const executable = await executor.compile(program, null);
    return new Pretrainer(making, executable, state ?? initialState(config, recipe, size));
  }

  get state(): PretrainState {
    return this.#current;
  }

  /** Takes one step on the next batch. @throws InvariantError when the loss is no number any more */
  async step(): Promise<PretrainReport> {
    const step = this.#current.step + 1;
    const batch = this.#batch("train", step);
    const out = await this.#run(batch, this.#learningRate(step), step);
    const report = reportOf(step, out);
    if (!Number.isFinite(report.loss))
      throw new InvariantError(`pre-training diverged at step ${step}: loss ${report.loss}`);
    [this.#current, this.#spare] = [{ ...this.#spare, step }, this.#current];
    return report;
  }

  /** Losses and load on fresh documents, averaged over `batches`; the weights stay as they are. */
  async heldOut(batches: number): Promise<PretrainReport> {
    const reports: PretrainReport[] = [];
    for (let i = 1; i <= batches; i++)
      reports.push(reportOf(this.#current.step, await this.#run(this.#batch("heldOut", i), 0, 1)));
    const mean = (of: (report: PretrainReport) => number) =>
      reports.reduce((sum, r) => sum + of(r), 0) / reports.length;
    return {
      step: this.#current.step,
      loss: mean((r) => r.loss),
      balance: mean((r) => r.balance),
      z: mean((r) => r.z),
      load: reports[0]!.load.map((_, expert) => reports.reduce((sum, r) => sum + r.load[expert]!, 0)),
    };
  }

  /** The weights so far, tensor by tensor. */
  weights(): WeightSource {
    const tensors = new Map<string, Float32Array>();
    let start = 0;
    for (const [name, shape] of trainedShapes(this.#making.config)) {
      tensors.set(name, this.#current.weights.subarray(start, start + sizeOf(shape)));
      start += sizeOf(shape);
    }
    if (this.#making.config.tiedEmbeddings) {
      const { vocabulary, width } = this.#making.config;
      const head = new Float32Array(vocabulary * width);
      transposeInto(tensors.get("embed")!, width, 0, head, vocabulary, 0, vocabulary, width);
      tensors.set("head", head);
    }
    return weightsInMemory(this.#making.config, tensors);
  }

  dispose(): void {
    this.#executable.dispose();
  }

  #batch(part: "train" | "heldOut", step: number): Batch {
    const { batch, recipe } = this.#making;
    const { rows, length } = recipe;
    return batch(this.#rng, step, { rows, length, tokenizer: byteTokenizer, part });
  }

  /** Linear warm-up, then cosine to a tenth of the peak. */
  #learningRate(step: number): number {
    const { learningRate, warmupSteps, steps } = this.#making.recipe;
    if (step <= warmupSteps) return (learningRate * step) / warmupSteps;
    const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
    return learningRate * (0.1 + 0.45 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
  }

  #run(batch: Batch, learningRate: number, step: number) {
    const { weights, mean, variance } = this.#current;
    const feeds = {
      weights,
      mean,
      variance,
      ids: idsOf(batch),
      padding: new Int32Array(idsOf(batch).length),
      positions: batch.lossPositions,
      targets: batch.targets,
      inverseCount: Float32Array.of(1 / batch.targets.length),
      learningRate: Float32Array.of(learningRate),
      decay: Float32Array.of(learningRate * this.#making.recipe.weightDecay),
      correction1: Float32Array.of(1 / (1 - betas.beta1 ** step)),
      correction2: Float32Array.of(1 / (1 - betas.beta2 ** step)),
      clipNorm: Float32Array.of(this.#making.recipe.clipNorm),
    };
    const { weights: nextWeights, mean: nextMean, variance: nextVariance } = this.#spare;
    return this.#executable.run(feeds, { weights: nextWeights, mean: nextMean, variance: nextVariance });
  }
}

const emptyState = (size: number): PretrainState => ({
  step: 0,
  weights: new Float32Array(size),
  mean: new Float32Array(size),
  variance: new Float32Array(size),
});

function initialState(config: ModelConfig, recipe: PretrainRecipe, size: number): PretrainState {
  const state = emptyState(size);
  const lane = new Rng(recipe.seed).at("initial weights");
  let start = 0;
  for (const [index, [name, shape]] of trainedShapes(config).entries()) {
    const values = state.weights.subarray(start, start + sizeOf(shape));
    start += values.length;
    if (/norm$/i.test(name)) values.fill(1);
    else if (!name.endsWith("Bias")) {
      const draws = lane.at(index);
      for (let i = 0; i < values.length; i++) {
        let z = draws.normal();
        while (Math.abs(z) > 3) z = draws.normal();
        values[i] = recipe.initialDeviation * z;
      }
    }
  }
  return state;
}

function reportOf(step: number, out: Record<string, Float32Array | Int32Array | BigInt64Array>): PretrainReport {
  const scalar = (name: string) => Number(out[name]![0]);
  return {
    step,
    loss: scalar("loss"),
    balance: scalar("balance"),
    z: scalar("z"),
    load: Array.from(out.activations as BigInt64Array, Number),
  };
}
