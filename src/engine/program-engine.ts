/**
 * The training engine on tensor programs: one compiled program per step shape, one native call per step.
 */

import { InvariantError, invariant, messageOf } from "../base/errors.ts";
import type { Batch } from "../data/batches.ts";
import { type AdapterLayout, adapterLayout, type LoraConfig } from "../model/adapter.ts";
import type { BaseWeights } from "../model/base-weights.ts";
import type { BaseProducts } from "../model/client-experts.ts";
import { mergedTrainStep } from "../model/merged-clients.ts";
import { evaluationProgram, type StepShape, trainStep } from "../model/programs.ts";
import type { LoraForm } from "../model/transformer.ts";
import type { Executable, Executor } from "../tensor/executors/executor.ts";
import type { Program } from "../tensor/graph/ir.ts";
import type { Evaluation, EvaluationJob, OptimizerConfig, TrainingEngine, TrainJob, TrainResult } from "./engine.ts";
import { loraFormFor } from "./lora-form.ts";
import { alone, type MergeLimit } from "./merge-limit.ts";
import { trainMerged } from "./merged-training.ts";
import { clientsPerCall, groupsOf, isOutOfMemory, shapeOf } from "./merging.ts";
import { restingState, StepState } from "./step-state.ts";

/** What the model says, before anyone compares it with an answer. */
export interface LogitsJob extends Omit<EvaluationJob, "batches"> {
  /** Its `lossPositions` say where logits are wanted; its targets only have to be tokens. */
  readonly batch: Batch;
}

export interface ProgramEngineOptions {
  /** How LoRA is computed; without it, as is best for the model. */
  readonly form?: LoraForm | undefined;
  /** How many clients of one shape train in one call; one by one unless given. */
  readonly merge?: MergeLimit;
  /** Called after every step of training and every batch of an evaluation. */
  readonly onStep?: () => void;
}

export class ProgramEngine implements TrainingEngine {
  readonly name: string;
  readonly layout: AdapterLayout;
  private readonly executor: Executor;
  private readonly weights: BaseWeights;
  private readonly form: LoraForm;
  private readonly merge: MergeLimit;
  private readonly onStep: () => void;
  /** Clients per call, by step shape; less than the limit allows where memory did not last. */
  private readonly most = new Map<string, number>();
  private readonly problems: string[] = [];
  private readonly compiled = new Map<string, Promise<Executable>>();
  private lastCohort: Promise<unknown> = Promise.resolve();
  private disposed = false;

  constructor(executor: Executor, weights: BaseWeights, lora: LoraConfig, options: ProgramEngineOptions = {}) {
    const { form, merge = alone, onStep = () => {} } = options;
    this.executor = executor;
    this.weights = weights;
    // The base products too are padded where pieces of rows do not run.
    this.form = form ?? (executor.pads === true ? "padded" : loraFormFor(weights.config));
    this.merge = merge;
    this.onStep = onStep;
    this.name = executor.name;
    this.layout = adapterLayout(weights.config, lora);
  }

  trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    // An executable may hold the state of one client at a time, so cohorts wait for one another.
    const results = this.lastCohort.then(() => this.trainAll(jobs));
    this.lastCohort = results.catch(() => {});
    return results;
  }

  async evaluate(job: EvaluationJob): Promise<Evaluation> {
    const { config } = this.weights;
    this.checkJob(job);
    const sums = { loss: 0, responseTokens: 0, correctTokens: 0, exact: 0, examples: 0 };
    const activations = new Float64Array(config.layers * config.experts);
    for (const batch of job.batches) {
      this.checkBatch(batch);
      const { rows, length } = batch;
      const program = await this.program(`evaluate ${rows}x${length} k=${job.topK}`, () =>
        this.evaluation({ rows, length, topK: job.topK }),
      );
      const out = await program.run({
        adapter: job.adapter,
        rescaler: job.rescaler,
        ...batchFeeds(batch, config.experts),
      });
      this.onStep();
      score(batch, out.losses as Float32Array, out.predicted as BigInt64Array, sums);
      for (const [expert, count] of (out.activations as BigInt64Array).entries()) activations[expert]! += Number(count);
    }
    return { ...sums, activations };
  }

  /** @returns `[positions, vocabulary]` */
  async logits({ batch, ...job }: LogitsJob): Promise<Float32Array> {
    this.checkJob(job);
    this.checkBatch(batch);
    const { config } = this.weights;
    const { rows, length } = batch;
    const program = await this.program(`logits ${rows}x${length} k=${job.topK}`, () =>
      this.evaluation({ rows, length, topK: job.topK }, true),
    );
    const { adapter, rescaler } = job;
    const out = await program.run({ adapter, rescaler, ...batchFeeds(batch, config.experts) });
    return out.logits as Float32Array;
  }

  dispose(): void {
    this.disposed = true;
    // A compilation that failed has told whoever asked for it.
    for (const executable of this.compiled.values()) {
      executable.then(
        (it) => it.dispose(),
        () => {},
      );
    }
    this.compiled.clear();
  }

  /** What went otherwise than planned since the last call: groups that had to be halved. */
  takeProblems(): string[] {
    return this.problems.splice(0);
  }

  private async trainAll(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    for (const job of jobs) this.checkJob(job);
    const results: TrainResult[] = [];
    const waiting = groupsOf(jobs, (shape) => this.clientsPerCall(shape));
    for (let group = waiting.shift(); group; group = waiting.shift()) {
      const members = group.map((index) => jobs[index]!);
      if (members.length > this.clientsPerCall(shapeOf(members[0]!))) {
        const half = group.length / 2;
        waiting.unshift(group.slice(0, half), group.slice(half));
        continue;
      }
      try {
        const trained = members.length > 1 ? await this.trainGroup(members) : [await this.train(members[0]!)];
        for (const [at, index] of group.entries()) results[index] = trained[at]!;
      } catch (error) {
        if (group.length === 1 || !isOutOfMemory(error)) throw error;
        await this.halve(members, error);
        waiting.unshift(group);
      }
    }
    return results;
  }

  private trainGroup(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    for (const { batches } of jobs) for (const batch of batches) this.checkBatch(batch);
    const [first] = jobs as [TrainJob];
    const { config } = this.weights;
    const shape = shapeOf(first)!;
    const { key, options } = stepOptions(shape, first.optimizer);
    const compile = (clients: number) =>
      this.program(`${clients} clients ${key}`, () =>
        mergedTrainStep(config, this.layout, { ...shape, clients }, { ...options, base: this.baseProducts }),
      );
    return trainMerged(jobs, { config, layout: this.layout, compile, onStep: this.onStep });
  }

  private get baseProducts(): BaseProducts {
    return this.form === "padded" ? "padded" : "ragged";
  }

  private clientsPerCall(shape: StepShape | null): number {
    if (shape === null) return 1;
    const key = JSON.stringify(shape);
    const most = this.most.get(key) ?? clientsPerCall(this.merge, this.weights.config, this.layout.lora, shape);
    this.most.set(key, most);
    return most;
  }

  /** Remembers that so many clients are too many, and gives back what their program held. */
  private async halve(jobs: readonly TrainJob[], error: unknown): Promise<void> {
    const [first] = jobs as [TrainJob];
    const shape = shapeOf(first)!;
    const half = jobs.length / 2;
    this.most.set(JSON.stringify(shape), half);
    this.problems.push(`${jobs.length} clients did not fit into memory, ${half} are tried: ${messageOf(error)}`);
    const key = `${jobs.length} clients ${stepOptions(shape, first.optimizer).key}`;
    const executable = await this.compiled.get(key)?.catch(() => null);
    this.compiled.delete(key);
    executable?.dispose();
  }

  private async train(job: TrainJob): Promise<TrainResult> {
    const { config } = this.weights;
    const { optimizer, batches } = job;
    const experts = config.layers * config.experts;
    const start = restingState(this.layout.size, config.layers);
    start.adapter!.set(job.adapter);
    start.rescaler!.set(job.rescaler);
    const state = new StepState(start);
    const activations = new Uint32Array(experts);
    const losses = new Float32Array(batches.length);
    let tokens = 0;
    for (const [step, batch] of batches.entries()) {
      this.checkBatch(batch);
      const shape = { rows: batch.rows, length: batch.length, topK: job.topK };
      const program = await this.trainProgram(shape, optimizer);
      const feeds = { ...batchFeeds(batch, config.experts), ...stepFeeds(optimizer, step + 1, batch) };
      const out = await state.step(program, feeds);
      this.onStep();
      losses[step] = (out.loss as Float32Array)[0]!;
      for (const [expert, count] of (out.activations as BigInt64Array).entries()) activations[expert]! += Number(count);
      for (const length of batch.lengths) tokens += length;
    }
    const end = await state.read(["adapter", "rescaler"]);
    return { adapter: end.adapter!, rescaler: end.rescaler!, activations, tokens, losses };
  }

  private trainProgram(shape: StepShape, optimizer: OptimizerConfig): Promise<Executable> {
    const { key, options } = stepOptions(shape, optimizer);
    const { form } = this;
    return this.program(key, () => trainStep(this.weights.config, this.layout, shape, { ...options, form }));
  }

  private evaluation(shape: StepShape, withLogits = false): Program {
    return evaluationProgram(this.weights.config, this.layout, shape, this.form, withLogits);
  }

  private program(key: string, build: () => Program): Promise<Executable> {
    if (this.disposed) throw new InvariantError(`engine ${this.name} was disposed`);
    let executable = this.compiled.get(key);
    if (!executable) {
      executable = this.executor.compile(build(), this.weights);
      this.compiled.set(key, executable);
      // A failed compilation must not answer for the next attempt.
      executable.catch(() => this.compiled.delete(key));
    }
    return executable;
  }

  private checkJob(job: Pick<TrainJob, "adapter" | "rescaler" | "topK">): void {
    if (this.disposed) throw new InvariantError(`engine ${this.name} was disposed`);
    const { layers, experts } = this.weights.config;
    const { size } = this.layout;
    invariant(job.adapter.length === size, () => `adapter: expected ${size} values, got ${job.adapter.length}`);
    invariant(job.rescaler.length === layers, () => `rescaler: expected ${layers} values, got ${job.rescaler.length}`);
    const possible = Number.isInteger(job.topK) && job.topK >= 1 && job.topK <= experts;
    invariant(possible, () => `topK: expected 1 to ${experts}, got ${job.topK}`);
  }

  /** Refuses what would make native code read out of bounds. */
  private checkBatch({ rows, length, ids, lengths, lossPositions, targets }: Batch): void {
    const { config } = this.weights;
    invariant(
      length <= config.maxTokens,
      () => `batch: expected at most ${config.maxTokens} tokens a row, got ${length}`,
    );
    invariant(
      ids.length === rows * length && lengths.length === rows,
      () => `batch: ids do not fill ${rows} rows of ${length}`,
    );
    invariant(
      lossPositions.length > 0 && lossPositions.length === targets.length,
      "batch: expected a target at every loss position, and at least one",
    );
    const inside = (values: Int32Array, limit: number, what: string) => {
      for (const value of values)
        invariant(value >= 0 && value < limit, () => `batch: ${what} expected in [0, ${limit}), got ${value}`);
    };
    inside(ids, config.vocabulary, "token id");
    inside(targets, config.vocabulary, "target id");
    inside(lossPositions, ids.length, "loss position");
    inside(lengths, length + 1, "row length");
  }
}

/** What a training program is compiled for, and the name of it all. */
function stepOptions(
  { rows, length, topK }: StepShape,
  { beta1, beta2, epsilon, clipNorm, weightDecay }: OptimizerConfig,
) {
  const options = { beta1, beta2, epsilon, clip: clipNorm !== null, decay: weightDecay !== 0 };
  const key = `train ${rows}x${length} k=${topK} ${beta1} ${beta2} ${epsilon} ${options.clip} ${options.decay}`;
  return { key, options };
}

function batchFeeds({ rows, length, ids, lengths, lossPositions, targets }: Batch, experts: number) {
  const padding = new Int32Array(rows * length).fill(experts);
  for (let row = 0; row < rows; row++) padding.fill(0, row * length, row * length + lengths[row]!);
  return { ids, padding, positions: lossPositions, targets };
}

function stepFeeds(optimizer: OptimizerConfig, step: number, batch: Batch) {
  const { learningRate, rescalerLearningRate, beta1, beta2, weightDecay, clipNorm } = optimizer;
  return {
    learningRate: Float32Array.of(learningRate),
    rescalerLearningRate: Float32Array.of(rescalerLearningRate),
    decay: Float32Array.of(learningRate * weightDecay),
    correction1: Float32Array.of(1 / (1 - beta1 ** step)),
    correction2: Float32Array.of(1 / (1 - beta2 ** step)),
    inverseCount: Float32Array.of(1 / batch.lossPositions.length),
    ...(clipNorm !== null && { clipNorm: Float32Array.of(clipNorm) }),
  };
}

/** Adds one batch's scores. A row is exact when every one of its response tokens is predicted. */
function score(
  { length, lossPositions, targets }: Batch,
  losses: Float32Array,
  predicted: BigInt64Array,
  sums: { loss: number; responseTokens: number; correctTokens: number; exact: number; examples: number },
): void {
  let row = -1;
  let exact = false;
  for (const [i, position] of lossPositions.entries()) {
    const right = Number(predicted[i]) === targets[i];
    const here = Math.floor(position / length);
    if (here !== row) {
      if (exact) sums.exact++;
      sums.examples++;
      row = here;
      exact = true;
    }
    sums.loss += losses[i]!;
    sums.responseTokens++;
    if (right) sums.correctTokens++;
    else exact = false;
  }
  if (exact) sums.exact++;
}
