/**
 * An engine holds one frozen base model and runs local training and evaluation on it. It knows nothing of rounds, clients
 * or virtual time, and the rest of the program nothing of executors and programs.
 */
import type { Batch } from "../data/batches.ts";

export interface OptimizerConfig {
  /** AdamW step size of the LoRA factors. */
  readonly learningRate: number;
  /** Step size of the rescaler; with Adam a scalar moves by at most about this much per step. */
  readonly rescalerLearningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled decay of the LoRA factors. 0 keeps an expert without tokens bit-identical. */
  readonly weightDecay: number;
  /** Largest global gradient norm; null leaves gradients alone. */
  readonly clipNorm: number | null;
}

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
}

export interface EvaluationJob {
  readonly adapter: Float32Array;
  readonly rescaler: Float32Array;
  readonly topK: number;
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
  /** Leaves `adapter` as it was. */
  evaluate(job: EvaluationJob): Promise<Evaluation>;
  /** What went otherwise than planned since it was last asked, in words; never part of a result. */
  takeProblems?(): string[];
  /** Frees every native resource. A disposed engine rejects further work. */
  dispose(): void;
}
