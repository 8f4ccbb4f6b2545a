/**
 * Where work is done: real threads, which the simulation never sees. A result depends on its task alone, so neither
 * the number of workers nor the order in which they finish reaches a run.
 */
import { InputError, InvariantError, MachineError } from "../../base/errors.ts";
import type { BlobReader, BlobViews } from "../messages/blobs.ts";

/** Plain data for a worker: which handler, its input, and the shared memory its blobs lie in. */
export interface Task {
  readonly work: string;
  readonly job: unknown;
  readonly blobs: BlobViews;
}

/**
 * One kind of work. It must not write to what `blobs` gives it, and hands its result over: typed arrays in the result
 * are moved to the other thread, not copied.
 */
export type Handler<Job, Result> = (job: Job, blobs: BlobReader) => Result | Promise<Result>;

export type Handlers = Readonly<Record<string, Handler<never, unknown>>>;

/** What comes back from a worker that lives, whether or not its handler threw. */
export type Reply = { readonly ok: true; readonly value: unknown } | Failure;

export interface Failure {
  readonly ok: false;
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
}

export interface PoolDiagnostics {
  /** Tasks that ended with a result. */
  readonly completed: number;
  /** Tasks begun again because their worker died or was stuck. */
  readonly retries: number;
  /** Tasks that ran past the watchdog's limit. */
  readonly stuck: number;
  /** What went wrong with workers, in words, most recent last; at most 100 lines. */
  readonly problems: readonly string[];
}

export interface WorkPool {
  /** Tasks that can run at the same time. */
  readonly workers: number;
  readonly diagnostics: PoolDiagnostics;
  /**
   * @param isWanted asked when a worker is free; a task nobody wants any more is not begun
   * @returns the handler's result; undefined for a task that was no longer wanted
   * @throws what the handler threw, as an error with its message; MachineError when workers keep dying under the task
   */
  run(task: Task, isWanted?: () => boolean): Promise<unknown>;
  /** Waits for the tasks that have begun or wait, then ends the workers. A closed pool takes no further task. */
  close(): Promise<void>;
}

/** The error a handler threw, with the kind and the stack it had there. */
export function failureOf({ name, message, stack }: Failure): Error {
  const Kind = [InputError, InvariantError, MachineError].find((kind) => kind.name === name) ?? Error;
  const error = new Kind(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** A list of problems that stays short however long the run. */
export function remember(problems: string[], problem: string): void {
  problems.push(problem);
  if (problems.length > 100) problems.shift();
}
