/** Local training and evaluation of a task, for those who have parameters and not programs in hand. */
import * as z from "zod";
import { anyNumber, doubles, notNegative, whole } from "../base/fields.ts";
import type { Batch } from "../data/batches.ts";
import type { Inputs, OptimizerConfig, ProgramSource } from "../engine/engine.ts";
import type { Scope } from "./scope.ts";
import type { Mix, Variant } from "./task.ts";

/** A client's local training: one AdamW step per batch, from a fresh optimizer state. */
export interface TrainJob {
  /** In the layout of the task; read, never written. */
  readonly parameters: Float32Array;
  /** Numbers of the client that never enter an average: FLAME's s_i, one factor per layer. */
  readonly personal: Float32Array;
  readonly variant: Variant;
  readonly batches: readonly Batch[];
  readonly optimizer: OptimizerConfig;
  /** Programs of a method in the place of the plain step, and what they are fed. */
  readonly method?: {
    program(clients: number): ProgramSource;
    readonly before?: readonly ProgramSource[];
    readonly after?: readonly ProgramSource[];
    readonly validate?: { readonly program: ProgramSource; readonly batches: readonly Batch[] };
    readonly inputs: Inputs;
    /** Parameters that the client has; all unless given. */
    readonly scope?: Scope;
  };
}

export interface TrainResult {
  readonly parameters: Float32Array;
  readonly personal: Float32Array;
  /** How often each group was used over all steps, `[groups]`. */
  readonly counts: Float64Array;
  /** What that is a share of: tokens that are no padding, images. */
  readonly units: number;
  /** Mean loss per target of each step, in nats, before that step's update. */
  readonly losses: Float32Array;
  /** Sums of a method's probes, by name. */
  readonly found: Readonly<Record<string, Float64Array>>;
}

/** A model that predicts. */
export interface EvaluationModel {
  readonly parameters: Float32Array;
  readonly personal: Float32Array;
  readonly variant: Variant;
  /** Parameters that are used; all unless given. */
  readonly scope?: Scope;
  /** What its variant asks for besides. */
  readonly inputs?: Inputs;
}

export interface EvaluationJob {
  /** One, or several whose predictions are averaged. */
  readonly models: readonly EvaluationModel[];
  /** What is averaged; probabilities unless given. */
  readonly mix?: Mix;
  readonly batches: readonly Batch[];
}

/** Sums, so that shards add up. */
export const evaluationSchema = z.strictObject({
  /** Over targets, in nats. */
  loss: anyNumber,
  targets: notNegative,
  /** Targets whose arg-max prediction is right. */
  correct: notNegative,
  /** Examples all of whose targets are predicted: what greedy decoding would write, end token included. */
  exact: notNegative,
  examples: whole,
  /** What a task measures besides, over examples. */
  more: z.record(z.string(), anyNumber),
  /** How often each group was used, `[groups]`. */
  counts: doubles,
});
export type Evaluation = Readonly<z.output<typeof evaluationSchema>>;

export interface TrainingEngine {
  /** `onnx-cpu`, `tfjs-cpu`, …: what ran, for diagnostics. */
  readonly name: string;
  /**
   * Result i depends on job i alone, in the order of `jobs`. Where clients share calls, how many do reaches the last digits:
   * the same jobs give the same bits, and a job in other company the same within 1e-5 of the parameters' norm.
   */
  trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]>;
  /** Leaves what it is given as it was. */
  evaluate(job: EvaluationJob): Promise<Evaluation>;
  /** What went otherwise than planned since it was last asked, in words; never part of a result. */
  takeProblems?(): string[];
  /** Frees every native resource. A disposed engine rejects further work. */
  dispose(): void;
}
