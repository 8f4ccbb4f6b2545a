/** The language model on a step engine: builds the programs that jobs ask for, and scores what evaluations predict. */
import { InvariantError } from "../../base/errors.ts";
import type { Batch } from "../../data/batches.ts";
import type { RowShape, StepJob } from "../../engine/engine.ts";
import { alone, type MergeLimit } from "../../engine/merge-limit.ts";
import { StepEngine } from "../../engine/step-engine.ts";
import type { LoraForm } from "../../model/adapted-experts.ts";
import type { AdapterLayout, AdapterShape, LoraConfig } from "../../model/adapter.ts";
import type { BaseWeights } from "../../model/base-weights.ts";
import type { Executor, TensorData } from "../../tensor/executors/executor.ts";
import { TaskPrograms } from "../programs.ts";
import { lensOf, seenThrough } from "../scope.ts";
import { stepOptionsOf } from "../training-step.ts";
import { type CheckedJob, checkJob } from "./check-job.ts";
import { clientsPerCall } from "./client-memory.ts";
import { loraFormFor } from "./lora-form.ts";
import { addScores, emptyScores, together } from "./scores.ts";
import { llmTask } from "./task.ts";
import type {
  Evaluation,
  EvaluationJob,
  EvaluationModel,
  TrainingEngine,
  TrainJob,
  TrainResult,
} from "./training-engine.ts";

/** What the model says, before anyone compares it with an answer. */
export interface LogitsJob extends EvaluationModel {
  /** Its `lossPositions` say where logits are wanted; its targets only have to be tokens. */
  readonly batch: Batch;
}

export interface ProgramEngineOptions {
  /** How LoRA is computed; without it, as is best for the model. */
  readonly form?: LoraForm | undefined;
  /** What trains besides the experts' factors. */
  readonly shape?: AdapterShape | undefined;
  /** How many clients of one shape train in one call; one by one unless given. */
  readonly merge?: MergeLimit;
  /** Called after every step of training and every batch of an evaluation. */
  readonly onStep?: () => void;
}

/** The form in which an executor computes LoRA for a model. */
export const formFor = (executor: Pick<Executor, "pads">, weights: BaseWeights): LoraForm =>
  executor.pads === true ? "padded" : loraFormFor(weights.config);

export class ProgramEngine implements TrainingEngine {
  readonly name: string;
  readonly layout: AdapterLayout;
  readonly #weights: BaseWeights;
  readonly #programs: TaskPrograms;
  readonly #engine: StepEngine;
  readonly #most = new Map<string, number>();
  #disposed = false;

  constructor(executor: Executor, weights: BaseWeights, lora: LoraConfig, options: ProgramEngineOptions = {}) {
    const { form = formFor(executor, weights), shape, merge = alone, onStep } = options;
    const { config } = weights;
    this.name = executor.name;
    const task = llmTask({ config, lora, form, ...(shape && { shape }) });
    this.layout = task.adapter;
    this.#weights = weights;
    this.#programs = new TaskPrograms(task);
    this.#engine = new StepEngine(executor, weights, {
      ...(onStep && { onStep }),
      most: (job) => {
        const { rows, length } = job.batches[0]!;
        const topK = topKOf.get(job)!;
        const key = `${rows}x${length} k=${topK}`;
        const most = this.#most.get(key) ?? clientsPerCall(merge, config, lora, { rows, length, topK });
        this.#most.set(key, most);
        return most;
      },
    });
  }

  async trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    const results = await this.#engine.trainCohort(jobs.map((job) => this.#stepJob(job)));
    return results.map(({ state, counts, losses, found }, at) => ({
      adapter: state.parameters!,
      rescaler: state.personal!,
      activations: counts.length === 0 ? new Uint32Array(this.#groups) : Uint32Array.from(counts),
      tokens: jobs[at]!.batches.reduce((sum, { lengths }) => sum + lengths.reduce((a, b) => a + b, 0), 0),
      losses,
      found,
    }));
  }

  async evaluate({ models, mix = "probabilities", batches }: EvaluationJob): Promise<Evaluation> {
    const seen = models.map((model) => this.#seen(model));
    for (const { variant, ...model } of seen) this.#check({ ...model, topK: variant.topK as number, batches });
    const scores = emptyScores(this.#groups);
    for (const batch of batches) {
      const predictions: Record<string, TensorData>[] = [];
      for (const model of seen) predictions.push(await this.#predict(model, batch, seen.length > 1));
      addScores(scores, batch, predictions.length === 1 ? predictions[0]! : together(predictions, batch, mix));
    }
    return scores;
  }

  /** @returns `[positions, vocabulary]` */
  async logits({ batch, ...model }: LogitsJob): Promise<Float32Array> {
    const { variant, ...checked } = this.#seen(model);
    this.#check({ ...checked, topK: variant.topK as number, batches: [batch] });
    return (await this.#predict({ variant, ...checked }, batch, true)).logits as Float32Array;
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
    return { ...model, adapter: seenThrough(model.adapter, lensOf(this.#programs.task.layout, scope)) };
  }

  #predict(
    { adapter, rescaler, variant, inputs }: EvaluationModel,
    batch: Batch,
    withLogits: boolean,
  ): Promise<Record<string, TensorData>> {
    const { rows, length } = batch;
    const program = this.#programs.evaluation(variant, { rows, length }, withLogits);
    const fed = { ...inputs, parameters: adapter, personal: rescaler };
    return this.#engine.run({ program, inputs: fed, batch, padding: this.#weights.config.experts });
  }

  #stepJob(job: TrainJob): StepJob {
    this.#check(job);
    const { adapter, rescaler, topK, batches, optimizer, method } = job;
    const options = stepOptionsOf(optimizer);
    const step: StepJob = {
      program: (clients, batch) =>
        method?.program(clients) ?? this.#programs.step({ topK }, { clients, ...pick(batch) }, options),
      state: { parameters: adapter, personal: rescaler },
      inputs: {
        ...method?.inputs,
        ...(method?.scope && { lens: lensOf(this.#programs.task.layout, method.scope) }),
      },
      batches,
      padding: this.#weights.config.experts,
      optimizer,
      before: method?.before,
      after: method?.after,
      validate: method?.validate,
    };
    topKOf.set(step, topK);
    return step;
  }

  get #groups(): number {
    return this.#programs.task.layout.groups.length;
  }

  #check(job: CheckedJob): void {
    if (this.#disposed) throw new InvariantError(`engine ${this.name} was disposed`);
    checkJob(job, this.#weights.config, this.layout);
  }
}

const pick = ({ rows, length }: RowShape): RowShape => ({ rows, length });

/** The budget a job was made for: what memory it needs is worked out from that. */
const topKOf = new WeakMap<StepJob, number>();
