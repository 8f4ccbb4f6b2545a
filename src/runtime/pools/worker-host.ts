/**
 * The worker's side of the pool with threads.
 *
 * A worker module is three lines, without a top-level await:
 *
 *   import { hostWorker } from "../src/runtime/pools/worker-host.ts";
 *   export default hostWorker({ train, evaluate });
 */
import { threadId } from "node:worker_threads";
import { move } from "piscina";
import { answer, type EncodedTask, type Handlers } from "./pool.ts";
import type { Pulse } from "./watchdog.ts";

/** A task as a pool with a watchdog sends it. */
export interface WatchedTask extends EncodedTask {
  readonly pulse?: Pulse;
}

/** The pulse of the task this thread is at; it has one at a time. */
let current: Pulse | null = null;

/** A handler that takes long says so, step by step, that it is not stuck. */
export function beat(): void {
  if (current !== null) Atomics.add(current, 0, 1);
}

/** The reply's bytes are moved to the other thread, not copied. */
export function hostWorker(handlers: Handlers): (task: WatchedTask) => Promise<unknown> {
  return async (task) => {
    current = task.pulse ?? null;
    if (current !== null) Atomics.store(current, 1, threadId);
    beat();
    return move(await answer(handlers, task));
  };
}
