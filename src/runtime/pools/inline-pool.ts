/**
 * The pool without threads: one task after the other, on the thread that asks. For small machines, for tests, and as
 * the reference for the pool with threads. Jobs and results are the same bytes and arrays as on the way to a thread.
 */
import { setImmediate as macrotask } from "node:timers/promises";
import { buggify } from "../../base/buggify.ts";
import { invariant, messageOf } from "../../base/errors.ts";
import {
  answer,
  type EncodedTask,
  encodeTask,
  type Handlers,
  type PoolDiagnostics,
  remember,
  resultOf,
  type Task,
  type WorkPool,
} from "./pool.ts";

export class InlinePool implements WorkPool {
  readonly workers = 1;
  readonly #handlers: Handlers;
  readonly #problems: string[] = [];
  #last: Promise<unknown> = Promise.resolve();
  #completed = 0;
  #closed = false;

  constructor(handlers: Handlers) {
    this.#handlers = handlers;
  }

  get diagnostics(): PoolDiagnostics {
    return { completed: this.#completed, retries: 0, stuck: 0, problems: this.#problems };
  }

  async run(task: Task, isWanted: () => boolean = () => true): Promise<unknown> {
    invariant(!this.#closed, () => `"${task.work}" came to a pool that is closed`);
    const encoded = encodeTask(task);
    const done = this.#last.then(() => (isWanted() ? this.#work(encoded) : undefined));
    this.#last = done.catch(() => undefined);
    return done;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  async #work(task: EncodedTask): Promise<unknown> {
    if (buggify("work: it is done a second time, as after the death of its worker")) await answer(this.#handlers, task);
    const answered = await answer(this.#handlers, task);
    if (buggify("work: its result is late")) await macrotask();
    try {
      const result = resultOf(answered);
      this.#completed++;
      return result;
    } catch (error) {
      remember(this.#problems, `"${task.work}" threw: ${messageOf(error)}`);
      throw error;
    }
  }
}
