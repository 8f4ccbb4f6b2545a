/**
 * Where work is done: real threads, which the simulation never sees. A result depends on its task alone, so neither
 * the number of workers nor the order in which they finish reaches a run.
 */
import { InputError, InvariantError, MachineError, messageOf } from "../../base/errors.ts";
import { type BlobReader, type BlobViews, blobReader } from "../messages/blobs.ts";
import { decode, encode } from "../messages/codec.ts";

/** Which handler, its input as plain data, and the shared memory its blobs lie in. */
export interface Task {
  readonly work: string;
  readonly job: unknown;
  readonly blobs: BlobViews;
}

/** A task on its way to a worker, this thread's or another's: its job is bytes. */
export interface EncodedTask extends Task {
  readonly job: Uint8Array<ArrayBuffer>;
}

/**
 * One kind of work; its result is plain data. It must not write to what `blobs` gives it.
 *
 * @param lastUse takes arrays of the result that nobody else reads or writes: to another thread they move, uncopied
 */
export type Handler<Job, Result> = (job: Job, blobs: BlobReader, lastUse?: LastUse) => Result | Promise<Result>;

export type LastUse = (array: Float32Array) => void;

export type Handlers = Readonly<Record<string, Handler<never, unknown>>>;

/** What comes back, as bytes and arrays beside them, from a worker that lives, whether or not its handler threw. */
export interface Answer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Each the whole of its buffer. */
  readonly arrays: readonly Float32Array<ArrayBuffer>[];
}

type Reply = { readonly ok: true; readonly value: unknown } | Failure;

interface Failure {
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
  /** Real seconds that workers were at each kind of work, by name; absent where nobody measures. */
  readonly busy?: Readonly<Record<string, number>>;
  /** Training steps and batches of evaluations that workers have done; absent where nobody counts. */
  readonly steps?: number;
  /** Who has done how much, where workers are elsewhere. */
  readonly summary?: string;
}

export interface WorkPool {
  /** Tasks that can run at the same time, as things stand. */
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

/** @throws InvariantError when the job is not plain data */
export function encodeTask({ work, job, blobs }: Task): EncodedTask {
  try {
    return { work, job: encode(job), blobs };
  } catch (error) {
    throw new InvariantError(`"${work}" cannot travel to a worker: ${messageOf(error)}`, { cause: error });
  }
}

/** Does a task, and encodes what its handler returned or threw. */
export async function answer(handlers: Handlers, { work, job, blobs }: EncodedTask): Promise<Answer> {
  const arrays: Float32Array<ArrayBuffer>[] = [];
  const lastUse = (array: Float32Array) => {
    const isKnown = arrays.some(({ buffer }) => buffer === array.buffer);
    if (!isKnown && isWhole(array)) arrays.push(array);
  };
  const bytes = await replyOf(() => {
    const handler = Object.hasOwn(handlers, work) ? handlers[work] : undefined;
    if (handler === undefined) {
      throw new InvariantError(`no handler for "${work}"; this worker has ${Object.keys(handlers).join(", ")}`);
    }
    return handler(decode(job) as never, blobReader(blobs), lastUse);
  }, arrays);
  return { bytes, arrays };
}

const isWhole = (array: Float32Array): array is Float32Array<ArrayBuffer> =>
  array.buffer instanceof ArrayBuffer && array.byteLength === array.buffer.byteLength;

/**
 * What work returned or threw, as bytes.
 *
 * @param apart arrays of its result that are left out of them; empty once it has thrown
 */
export async function replyOf(work: () => unknown, apart: Float32Array[] = []): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return encode({ ok: true, value: await work() } satisfies Reply, apart);
  } catch (error) {
    apart.length = 0;
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
    return encode({ ok: false, name, message: carriable(message), stack: stack && carriable(stack) } satisfies Reply);
  }
}

/** What the handler returned. @throws what it threw, with the kind and the stack it had there */
export function resultOf({ bytes, arrays }: Answer): unknown {
  const decoded = decode(bytes, arrays) as Reply;
  if (decoded.ok) return decoded.value;
  throw failureOf(decoded);
}

/** Text of any origin, as msgpack carries it. */
const carriable = (text: string): string => Buffer.from(text.replace(/^\ufeff/, "")).toString();

/** The error a handler threw. */
export function failureOf({ name, message, stack }: Failure): Error {
  const Kind =
    Object.entries({ InputError, InvariantError, MachineError }).find(([kind]) => kind === name)?.[1] ?? Error;
  const error = new Kind(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** A list of problems that stays short however long the run. */
export function remember(problems: string[], problem: string): void {
  problems.push(problem);
  if (problems.length > 100) problems.shift();
}
