/** Local training and evaluation of the language model, for those who have adapters and not programs in hand. */
import type { Batch } from "../../data/batches.ts";
import type { Inputs, OptimizerConfig, ProgramSource } from "../../engine/engine.ts";
import type { Scope } from "../scope.ts";
import type { Mix, Variant } from "../task.ts";

/** A client's local training: one AdamW step per batch, from a fresh optimizer state. */
export interface TrainJob {
  /** Flat adapter in the layout of `model/adapter.ts`; read, never written. */
  readonly adapter: Float32Array;
  /** s_i, one factor per layer. */
  readonly rescaler: Float32Array;
  /** Experts per token, 1 ≤ topK ≤ experts. */
  readonly topK: number;
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
  readonly adapter: Float32Array;
  readonly rescaler: Float32Array;
  /** Non-padding tokens routed to each expert over all steps, `[layers · experts]`. Sums to topK · tokens per layer. */
  readonly activations: Uint32Array;
  /** Non-padding tokens seen over all steps. */
  readonly tokens: number;
  /** Mean loss per response token of each step, in nats, before that step's update. */
  readonly losses: Float32Array;
  /** Sums of a method's probes, by name. */
  readonly found: Readonly<Record<string, Float64Array>>;
}

/** A model that predicts. */
export interface EvaluationModel {
  readonly adapter: Float32Array;
  readonly rescaler: Float32Array;
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
export interface Evaluation {
  /** Summed cross-entropy of response tokens, in nats. */
  readonly loss: number;
  readonly responseTokens: number;
  /** Response tokens whose arg-max prediction is right. */
  readonly correctTokens: number;
  /** Examples whose whole response, end token included, is what greedy decoding would write. */
  readonly exact: number;
  readonly examples: number;
  /** Non-padding tokens routed to each expert, `[layers · experts]`. */
  readonly activations: Float64Array;
}

export interface TrainingEngine {
  /** `onnx-cpu`, `tfjs-cpu`, …: what ran, for diagnostics. */
  readonly name: string;
  /**
   * Result i depends on job i alone, in the order of `jobs`. Where clients share calls, how many do reaches the last digits:
   * the same jobs give the same bits, and a job in other company the same within 1e-5 of the adapter's norm.
   */
  trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]>;
  /** Leaves what it is given as it was. */
  evaluate(job: EvaluationJob): Promise<Evaluation>;
  /** What went otherwise than planned since it was last asked, in words; never part of a result. */
  takeProblems?(): string[];
  /** Frees every native resource. A disposed engine rejects further work. */
  dispose(): void;
}
