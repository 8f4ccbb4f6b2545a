/**
 * The pool without threads: one task after the other, on the thread that asks. For small machines, for tests, and as
 * the reference for the pool with threads. Jobs and results are cloned as they would be on the way to a thread, so a
 * handler that wrote to its input would fail here as well.
 */
import { InvariantError } from "../../base/errors.ts";
import { failureOf, type Handlers, type PoolDiagnostics, remember, type Task, type WorkPool } from "./pool.ts";
import { answer, ownBuffers } from "./worker-host.ts";

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

  run(task: Task, isWanted: () => boolean = () => true): Promise<unknown> {
    if (this.#closed) return Promise.reject(new InvariantError(`"${task.work}" came to a pool that is closed`));
    const done = this.#last.then(() => (isWanted() ? this.#work(task) : undefined));
    this.#last = done.catch(() => undefined);
    return done;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  async #work(task: Task): Promise<unknown> {
    const reply = await answer(this.#handlers, structuredClone(task));
    if (!reply.ok) {
      remember(this.#problems, `"${task.work}" threw: ${reply.message}`);
      throw failureOf(reply);
    }
    this.#completed++;
    return structuredClone(reply.value, { transfer: ownBuffers(reply.value) });
  }
}
