/** A task on a step engine: builds the programs that jobs ask for, and scores what evaluations predict. */
import { InvariantError } from "../base/errors.ts";
import type { Batch } from "../data/batches.ts";
import type { RowShape, StepJob } from "../engine/engine.ts";
import { StepEngine } from "../engine/step-engine.ts";
import type { Executor, TensorData, WeightSource } from "../tensor/executors/executor.ts";
import { checkJob } from "./check-job.ts";
import { TaskPrograms } from "./programs.ts";
import { lensOf, seenThrough } from "./scope.ts";
import { addScores, emptyScores, together } from "./scores.ts";
import type { Task, Variant } from "./task.ts";
import type {
  Evaluation,
  EvaluationJob,
  EvaluationModel,
  TrainingEngine,
  TrainJob,
  TrainResult,
} from "./training-engine.ts";
import { stepOptionsOf } from "./training-step.ts";

/** What the model says, before anyone compares it with an answer. */
export interface LogitsJob extends EvaluationModel {
  /** Its `lossPositions` say where logits are wanted; its targets only have to be possible. */
  readonly batch: Batch;
}

export interface TaskEngineOptions {
  /** How many clients of a variant train in one call; one by one unless given. */
  readonly most?: (variant: Variant, shape: RowShape) => number;
  /** Bytes that a step may take before it computes layers again; any number unless given. */
  readonly memory?: number | undefined;
  /** Called after every step of training and every batch of an evaluation. */
  readonly onStep?: () => void;
}

export class TaskEngine implements TrainingEngine {
  readonly name: string;
  readonly task: Task;
  readonly #programs: TaskPrograms;
  readonly #engine: StepEngine;
  #disposed = false;

  /** @param weights what of the task does not train; null where everything does */
  constructor(executor: Executor, task: Task, weights: WeightSource | null, options: TaskEngineOptions = {}) {
    const { most, memory, onStep } = options;
    this.name = executor.name;
    this.task = task;
    this.#programs = new TaskPrograms(task, memory);
    this.#engine = new StepEngine(executor, weights, {
      ...(onStep && { onStep }),
      ...(most && { most: (job: StepJob) => most(variantOf.get(job)!, job.batches[0]!) }),
    });
  }

  async trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    const results = await this.#engine.trainCohort(jobs.map((job) => this.#stepJob(job)));
    return results.map(({ state, counts, losses, found }, at) => ({
      parameters: state.parameters!,
      personal: state.personal ?? jobs[at]!.personal,
      counts: counts.length === 0 ? new Float64Array(this.#groups) : counts,
      units: jobs[at]!.batches.reduce((sum, { lengths }) => sum + lengths.reduce((a, b) => a + b, 0), 0),
      losses,
      found,
    }));
  }

  async evaluate({ models, mix = "probabilities", batches }: EvaluationJob): Promise<Evaluation> {
    const seen = models.map((model) => this.#seen(model));
    for (const model of seen) this.#check({ ...model, batches });
    const scores = emptyScores(this.#groups);
    for (const batch of batches) {
      const predictions: Record<string, TensorData>[] = [];
      for (const model of seen) predictions.push(await this.#predict(model, batch, seen.length > 1));
      const out = predictions.length === 1 ? predictions[0]! : together(predictions, batch, mix);
      addScores(scores, batch, out, this.task.evaluation?.sums);
    }
    return scores;
  }

  /** @returns `[positions, classes]` */
  async logits({ batch, ...model }: LogitsJob): Promise<Float32Array> {
    const seen = this.#seen(model);
    this.#check({ ...seen, batches: [batch] });
    return (await this.#predict(seen, batch, true)).logits as Float32Array;
  }

  /** Of one batch: losses, what is predicted, and what the task measures besides. */
  async outputs({ batch, ...model }: LogitsJob): Promise<Record<string, TensorData>> {
    const seen = this.#seen(model);
    this.#check({ ...seen, batches: [batch] });
    return this.#predict(seen, batch, false);
  }

  takeProblems(): string[] {
    return this.#engine.takeProblems();
  }

  dispose(): void {
    this.#disposed = true;
    this.#engine.dispose();
  }

  #seen({ scope, ...model }: EvaluationModel): Omit<EvaluationModel, "scope"> {
    if (scope === undefined) return model;
    return { ...model, parameters: seenThrough(model.parameters, lensOf(this.task.layout, scope)) };
  }

  #predict(
    { parameters, personal, variant, inputs }: EvaluationModel,
    batch: Batch,
    withLogits: boolean,
  ): Promise<Record<string, TensorData>> {
    const program = this.#programs.evaluation(variant, pick(batch), withLogits);
    return this.#engine.run({
      program,
      inputs: { ...inputs, parameters, personal },
      batch,
      padding: this.task.padding,
    });
  }

  #stepJob(job: TrainJob): StepJob {
    this.#check(job);
    const { parameters, personal, variant, batches, optimizer, method } = job;
    const options = stepOptionsOf(optimizer);
    const step: StepJob = {
      program: (clients, batch) =>
        method?.program(clients) ?? this.#programs.step(variant, { clients, ...pick(batch) }, options),
      state: { parameters, ...(this.task.personal > 0 && { personal }) },
      inputs: {
        ...method?.inputs,
        ...(method?.scope && { lens: lensOf(this.task.layout, method.scope) }),
      },
      batches,
      padding: this.task.padding,
      optimizer,
      before: method?.before,
      after: method?.after,
      validate: method?.validate,
    };
    variantOf.set(step, variant);
    return step;
  }

  get #groups(): number {
    return this.task.layout.groups.length;
  }

  #check(job: Parameters<typeof checkJob>[0]): void {
    if (this.#disposed) throw new InvariantError(`engine ${this.name} was disposed`);
    checkJob(job, this.task);
  }
}

const pick = ({ rows, length }: RowShape): RowShape => ({ rows, length });

/** The variant a job was made for: what memory it needs is worked out from that. */
const variantOf = new WeakMap<StepJob, Variant>();
