/**
 * The worker's side of the pool with threads.
 *
 * A worker module is three lines, without a top-level await:
 *
 *   import { hostWorker } from "../src/runtime/pools/worker-host.ts";
 *   export default hostWorker({ train, evaluate });
 */
import { threadId } from "node:worker_threads";
import { move, transferableSymbol, valueSymbol } from "piscina";
import { type Answer, answer, type EncodedTask, type Handlers } from "./pool.ts";
import type { Pulse } from "./watchdog.ts";

/** Tasks as a pool with a watchdog sends them. */
export interface WatchedTasks {
  readonly tasks: readonly EncodedTask[];
  readonly pulse: Pulse;
}

/** The pulse of the tasks this thread is at. */
let current: Pulse | null = null;

/** A handler that takes long says so, step by step, that it is not stuck. */
export function beat(): void {
  if (current !== null) Atomics.add(current, 0, 1);
}

/** The memory of answers is moved to the other thread, not copied. */
export function hostWorker(handlers: Handlers): (batch: WatchedTasks) => Promise<unknown> {
  return async ({ tasks, pulse }) => {
    current = pulse;
    Atomics.store(pulse, 1, threadId);
    beat();
    const answers: Answer[] = [];
    for (const task of tasks) answers.push(await answer(handlers, task));
    const memory = answers.flatMap(({ bytes, arrays }) => [bytes, ...arrays].map(({ buffer }) => buffer));
    return move({ [transferableSymbol]: memory, [valueSymbol]: answers });
  };
}
