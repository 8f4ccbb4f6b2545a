/**
 * What an engine is asked to do: local training, and single passes, as data. It knows no model, no rounds and no virtual
 * time: a program comes as text, is compiled once for its digest, and says by the names of its inputs what it wants.
 */
import type { Batch } from "../data/batches.ts";
import type { Executable } from "../tensor/executors/executor.ts";

/** A program by its digest; its text is only asked for when it has to be compiled. */
export interface ProgramSource {
  readonly digest: string;
  text(): string;
}

/** Outputs of a step with such a name are summed over the steps, client after client. */
export const tallyPrefix = "tally.";

/** Inputs with such a name are what probes that went before have found, as float32. */
export const foundPrefix = "found.";

export interface OptimizerConfig {
  /** Step size of the parameters. */
  readonly learningRate: number;
  /** Step size of personal numbers; with Adam a scalar moves by at most about this much per step. */
  readonly personalLearningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled decay of the parameters. 0 keeps what has no gradient bit-identical. */
  readonly weightDecay: number;
  /** Largest global gradient norm; null leaves gradients alone. */
  readonly clipNorm: number | null;
}

/** Rows of a batch, and what a row holds. */
export type RowShape = Pick<Batch, "rows" | "length">;

/** Vectors by name, and numbers. */
export type Inputs = Readonly<Record<string, number | Float32Array>>;

/** One client's local training, as data: a step per batch, from a fresh optimizer state. */
export interface StepJob {
  /** The step of so many clients in one call, a power of two. Jobs with the same one for 1 can share calls. */
  program(clients: number, shape: RowShape): ProgramSource;
  /** Where training starts, by the names of the program's state; what is not given starts at 0. Read, never written. */
  readonly state: Readonly<Record<string, Float32Array>>;
  /** Fed to every step besides. */
  readonly inputs: Inputs;
  readonly batches: readonly Batch[];
  /** What stands in the program's `padding` where there is no token. */
  readonly padding: number;
  readonly optimizer: OptimizerConfig;
  /** Passes over all batches with the state before the first step, and after the last, in order; outputs are summed. */
  readonly before?: readonly ProgramSource[] | undefined;
  readonly after?: readonly ProgramSource[] | undefined;
  /** A pass over other batches with the state after the last step. */
  readonly validate?: { readonly program: ProgramSource; readonly batches: readonly Batch[] } | undefined;
}

export interface StepResult {
  /** `parameters`, and `personal` where there is one, as the last step left them. */
  readonly state: Readonly<Record<string, Float32Array>>;
  /** Uses of each group over all steps. */
  readonly counts: Float64Array;
  /** Mean loss of each step before its update, in nats. */
  readonly losses: Float32Array;
  /** Sums of tallies and probes, by name. */
  readonly found: Readonly<Record<string, Float64Array>>;
}

/** A pass over a batch. */
export interface PassJob {
  readonly program: ProgramSource;
  readonly inputs: Inputs;
  readonly batch: Batch;
  readonly padding: number;
}

export interface Compiled {
  readonly executable: Executable;
  /** Names of its inputs. */
  readonly wants: ReadonlySet<string>;
  /** Vectors that are both inputs and outputs, and their sizes. */
  readonly state: ReadonlyMap<string, number>;
  /** Those of them that a run may write over. */
  readonly overwritable: ReadonlySet<string>;
}
