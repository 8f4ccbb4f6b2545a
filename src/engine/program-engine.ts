/** The training engine on tensor programs: one compiled program per step shape, one native call per step. */
import { InvariantError, messageOf } from "../base/errors.ts";
import type { Batch } from "../data/batches.ts";
import type { LoraForm } from "../model/adapted-experts.ts";
import { type AdapterLayout, adapterLayout, type LoraConfig } from "../model/adapter.ts";
import type { BaseWeights } from "../model/base-weights.ts";
import { evaluationProgram, type StepShape, type TrainShape, trainStep } from "../model/programs.ts";
import type { Executable, Executor, TensorData } from "../tensor/executors/executor.ts";
import type { Program } from "../tensor/graph/ir.ts";
import { checkJob } from "./check-job.ts";
import type { Evaluation, EvaluationJob, OptimizerConfig, TrainingEngine, TrainJob, TrainResult } from "./engine.ts";
import { batchFeeds } from "./feeds.ts";
import { trainTogether } from "./local-training.ts";
import { loraFormFor } from "./lora-form.ts";
import { alone, type MergeLimit } from "./merge-limit.ts";
import { clientsPerCall, groupsOf, isOutOfMemory, shapeOf } from "./merging.ts";

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
  readonly #executor: Executor;
  readonly #weights: BaseWeights;
  readonly #form: LoraForm;
  readonly #merge: MergeLimit;
  readonly #onStep: () => void;
  /** Clients per call, by step shape; less than the limit allows where memory did not last. */
  readonly #most = new Map<string, number>();
  readonly #problems: string[] = [];
  readonly #compiled = new Map<string, Promise<Executable>>();
  #lastCohort: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(executor: Executor, weights: BaseWeights, lora: LoraConfig, options: ProgramEngineOptions = {}) {
    const { form, merge = alone, onStep = () => {} } = options;
    this.#executor = executor;
    this.#weights = weights;
    this.#form = form ?? (executor.pads === true ? "padded" : loraFormFor(weights.config));
    this.#merge = merge;
    this.#onStep = onStep;
    this.name = executor.name;
    this.layout = adapterLayout(weights.config, lora);
  }

  trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    // An executable may hold the state of one client at a time, so cohorts wait for one another.
    const results = this.#lastCohort.then(() => this.#trainAll(jobs));
    this.#lastCohort = results.catch(() => {});
    return results;
  }

  async evaluate(job: EvaluationJob): Promise<Evaluation> {
    const { layers, experts } = this.#weights.config;
    this.#check(job);
    const sums = { loss: 0, responseTokens: 0, correctTokens: 0, exact: 0, examples: 0 };
    const activations = new Float64Array(layers * experts);
    for (const batch of job.batches) {
      const out = await this.#predict("evaluate", job, batch);
      this.#onStep();
      score(batch, out.losses as Float32Array, out.predicted as BigInt64Array, sums);
      for (const [expert, count] of out.activations!.entries()) activations[expert]! += Number(count);
    }
    return { ...sums, activations };
  }

  /** @returns `[positions, vocabulary]` */
  async logits({ batch, ...job }: LogitsJob): Promise<Float32Array> {
    this.#check({ ...job, batches: [batch] });
    return (await this.#predict("logits", job, batch)).logits as Float32Array;
  }

  dispose(): void {
    this.#disposed = true;
    // A compilation that failed has told whoever asked for it.
    for (const executable of this.#compiled.values()) {
      executable.then(
        (it) => it.dispose(),
        () => {},
      );
    }
    this.#compiled.clear();
  }

  /** What went otherwise than planned since the last call: groups that had to be halved. */
  takeProblems(): string[] {
    return this.#problems.splice(0);
  }

  async #trainAll(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    for (const job of jobs) this.#check(job);
    const results: TrainResult[] = [];
    const waiting = groupsOf(jobs, (shape) => this.#clientsPerCall(shape));
    for (let group = waiting.shift(); group; group = waiting.shift()) {
      const members = group.map((index) => jobs[index]!);
      if (members.length > this.#clientsPerCall(shapeOf(members[0]!))) {
        const half = group.length / 2;
        waiting.unshift(group.slice(0, half), group.slice(half));
        continue;
      }
      try {
        const trained = await this.#train(members);
        for (const [at, index] of group.entries()) results[index] = trained[at]!;
      } catch (error) {
        if (group.length === 1 || !isOutOfMemory(error)) throw error;
        await this.#halve(members, error);
        waiting.unshift(group);
      }
    }
    return results;
  }

  #train(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    const [{ topK, optimizer }] = jobs as readonly [TrainJob];
    return trainTogether(jobs, {
      config: this.#weights.config,
      layout: this.layout,
      compile: (clients, { rows, length }) => this.#trainProgram({ clients, rows, length, topK }, optimizer),
      onStep: this.#onStep,
    });
  }

  #clientsPerCall(shape: StepShape | null): number {
    if (shape === null) return 1;
    const key = JSON.stringify(shape);
    const most = this.#most.get(key) ?? clientsPerCall(this.#merge, this.#weights.config, this.layout.lora, shape);
    this.#most.set(key, most);
    return most;
  }

  /** Remembers that so many clients are too many, and gives back what their program held. */
  async #halve(jobs: readonly TrainJob[], error: unknown): Promise<void> {
    const [first] = jobs as readonly [TrainJob];
    const shape = shapeOf(first)!;
    const half = jobs.length / 2;
    this.#most.set(JSON.stringify(shape), half);
    this.#problems.push(`${jobs.length} clients did not fit into memory, ${half} are tried: ${messageOf(error)}`);
    const { key } = stepOptions({ ...shape, clients: jobs.length }, first.optimizer);
    const executable = await this.#compiled.get(key)?.catch(() => null);
    this.#compiled.delete(key);
    executable?.dispose();
  }

  #trainProgram(shape: TrainShape, optimizer: OptimizerConfig): Promise<Executable> {
    const { key, options } = stepOptions(shape, optimizer);
    const form = this.#form;
    return this.#program(key, () => trainStep(this.#weights.config, this.layout, shape, { ...options, form }));
  }

  async #predict(
    what: "evaluate" | "logits",
    { adapter, rescaler, topK }: Omit<EvaluationJob, "batches">,
    batch: Batch,
  ): Promise<Record<string, TensorData>> {
    const { config } = this.#weights;
    const { rows, length } = batch;
    const program = await this.#program(`${what} ${rows}x${length} k=${topK}`, () =>
      evaluationProgram(config, this.layout, { rows, length, topK }, this.#form, what === "logits"),
    );
    return program.run({ adapter, rescaler, ...batchFeeds(batch, [batch], config.experts) });
  }

  #program(key: string, build: () => Program): Promise<Executable> {
    this.#refuseIfDisposed();
    let executable = this.#compiled.get(key);
    if (!executable) {
      executable = this.#executor.compile(build(), this.#weights);
      this.#compiled.set(key, executable);
      // A failed compilation must not answer for the next attempt.
      executable.catch(() => this.#compiled.delete(key));
    }
    return executable;
  }

  #check(job: EvaluationJob): void {
    this.#refuseIfDisposed();
    checkJob(job, this.#weights.config, this.layout);
  }

  #refuseIfDisposed(): void {
    if (this.#disposed) throw new InvariantError(`engine ${this.name} was disposed`);
  }
}

/** What a training program is compiled for, and the name of it all. */
function stepOptions(
  { clients, rows, length, topK }: TrainShape,
  { beta1, beta2, epsilon, clipNorm, weightDecay }: OptimizerConfig,
) {
  const options = { beta1, beta2, epsilon, clip: clipNorm !== null, decay: weightDecay !== 0 };
  const key = ["train", clients, rows, length, topK, ...Object.values(options)].join(" ");
  return { key, options };
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
