/**
 * The pool with threads, on piscina: one task at a time per worker, every worker started at once and kept.
 *
 * A worker that dies takes nothing with it but time: its task is run again and gives the same result. A worker that
 * shows no sign of life within the watchdog's limit is ended. Where it hangs in JavaScript its task begins anew; where it
 * hangs in native code, ending the thread ends the process, and `flame resume` goes on from the last checkpoint. The
 * stopwatch here watches the machine; no simulated thing depends on it.
 */
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import { invariant, MachineError, messageOf } from "../../base/errors.ts";
import {
  type EncodedTask,
  encodeTask,
  type PoolDiagnostics,
  remember,
  resultOf,
  type Task,
  type WorkPool,
} from "./pool.ts";
import { type Nature, WaitingTasks } from "./waiting.ts";
import { newPulse, type Pulse, stepsOf, watch } from "./watchdog.ts";
import type { WatchedTask } from "./worker-host.ts";

export interface PiscinaPoolOptions {
  /** Module whose default export is `hostWorker(handlers)`; what loads `.ts` for this process loads it for workers. */
  readonly worker: URL;
  readonly workers: number;
  /** What every worker is given on its way, as `workerData` of `node:worker_threads`; shared memory stays shared. */
  readonly workerData?: unknown;
  /** How often a task is begun before the pool gives up on it. Default 3. */
  readonly attempts?: number;
  /** Real milliseconds without a finished step after which a task is stuck and its worker is ended. Default ten minutes. */
  readonly stuckAfter?: number;
  /** JavaScript heap of a worker in megabytes; native memory does not count. Node's own limit unless given. */
  readonly heapLimit?: number;
  /** What is known of a task before it is done; nothing unless given. */
  readonly natureOf?: (task: Task) => Nature;
}

interface Order extends Nature {
  readonly task: EncodedTask;
  readonly isWanted: () => boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  attempts: number;
  /** When it was last begun, by the stopwatch. */
  begun: number;
}

const unknown: Nature = { kind: null, effort: 0, isPatient: false };

export class PiscinaPool implements WorkPool {
  readonly workers: number;
  readonly #piscina: Piscina<WatchedTask, Uint8Array>;
  readonly #attempts: number;
  readonly #stuckAfter: number;
  readonly #problems: string[] = [];
  readonly #natureOf: (task: Task) => Nature;
  readonly #waiting = new WaitingTasks<Order>();
  readonly #running = new Set<Order>();
  /** Seconds of tasks that have ended, by kind of work. */
  readonly #busy = new Map<string, number>();
  /** Threads that have finished a task and not been given another. */
  readonly #idle: number[] = [];
  /** The thread that the next task is meant for. */
  #next: number | null = null;
  /** Of tasks under way; and the steps of those that have ended. */
  readonly #pulses = new Set<Pulse>();
  #steps = 0;
  #completed = 0;
  #retries = 0;
  #stuck = 0;
  /** Workers that died before they took a task, since the last task that ended. */
  #stillborn = 0;
  #isDispatching = false;
  #closed = false;
  #whenIdle: (() => void) | null = null;

  constructor(options: PiscinaPoolOptions) {
    const {
      worker,
      workers,
      workerData,
      attempts = 3,
      stuckAfter = 600_000,
      heapLimit,
      natureOf = () => unknown,
    } = options;
    invariant(Number.isInteger(workers) && workers >= 1, () => `a pool of ${workers} workers, expected at least 1`);
    this.workers = workers;
    this.#attempts = attempts;
    this.#stuckAfter = stuckAfter;
    this.#natureOf = natureOf;
    this.#piscina = new Piscina<WatchedTask, Uint8Array>({
      filename: fileURLToPath(worker),
      minThreads: workers,
      maxThreads: workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      recordTiming: false,
      loadBalancer: (_task, ready) => {
        const free = ready.filter(({ currentUsage }) => currentUsage === 0);
        return free.find(({ id }) => id === this.#next) ?? free[0] ?? null;
      },
      closeTimeout: stuckAfter,
      ...(workerData === undefined ? {} : { workerData }),
      ...(heapLimit === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: heapLimit } }),
    });
    this.#piscina.on("error", (error) => this.#bury(error));
  }

  get diagnostics(): PoolDiagnostics {
    return {
      completed: this.#completed,
      retries: this.#retries,
      stuck: this.#stuck,
      problems: this.#problems,
      busy: this.#busyUntilNow(),
      steps: Array.from(this.#pulses, stepsOf).reduce((sum, steps) => sum + steps, this.#steps),
    };
  }

  async run(task: Task, isWanted: () => boolean = () => true): Promise<unknown> {
    invariant(!this.#closed, () => `"${task.work}" came to a pool that is closed`);
    const encoded = encodeTask(task);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...this.#natureOf(task), task: encoded, isWanted, resolve, reject, attempts: 0, begun: 0 });
      // A round's tasks come one right after the other, and which goes first is better chosen among all of them.
      if (this.#isDispatching) return;
      this.#isDispatching = true;
      setImmediate(() => {
        this.#isDispatching = false;
        this.#dispatch();
      });
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#running.size + this.#waiting.size > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    await this.#piscina.close();
  }

  #dispatch(): void {
    while (this.#running.size < this.workers) {
      const thread = this.#idle[0] ?? null;
      const order = this.#waiting.takeFor(thread);
      if (order === undefined) break;
      if (order.isWanted()) {
        this.#next = thread;
        this.#idle.shift();
        this.#begin(order);
      } else order.resolve(undefined);
    }
    if (this.#running.size === 0) this.#whenIdle?.();
  }

  #begin(order: Order): void {
    const { task } = order;
    order.attempts++;
    order.begun = performance.now();
    this.#running.add(order);
    const watchdog = new AbortController();
    const pulse = newPulse();
    this.#pulses.add(pulse);
    const stopWatching = watch(pulse, this.#stuckAfter, {
      quiet: () => remember(this.#problems, `"${task.work}" has finished no step for ${this.#stuckAfter / 2_000} s`),
      stuck: () => {
        this.#stuck++;
        watchdog.abort();
      },
    });
    this.#piscina
      .run({ ...task, pulse }, { signal: watchdog.signal })
      .then(
        (reply) => this.#settle(order, reply, pulse),
        (error: unknown) =>
          this.#retry(
            order,
            watchdog.signal.aborted ? `stuck for ${this.#stuckAfter / 1_000} s` : messageOf(error),
            error,
          ),
      )
      .finally(() => {
        stopWatching();
        this.#pulses.delete(pulse);
        this.#steps += stepsOf(pulse);
        this.#dispatch();
      });
  }

  #settle(order: Order, reply: Uint8Array, pulse: Pulse): void {
    this.#ended(order);
    const thread = pulse[1]!;
    this.#waiting.prepared(thread, order.kind);
    this.#idle.push(thread);
    this.#stillborn = 0;
    try {
      order.resolve(resultOf(reply));
      this.#completed++;
    } catch (error) {
      remember(this.#problems, `"${order.task.work}" threw: ${messageOf(error)}`);
      order.reject(error);
    }
  }

  /** @returns false for one that was not running */
  #ended(order: Order): boolean {
    if (!this.#running.delete(order)) return false;
    addTime(this.#busy, order);
    return true;
  }

  #busyUntilNow(): Record<string, number> {
    const busy = new Map(this.#busy);
    for (const order of this.#running) addTime(busy, order);
    return Object.fromEntries(busy);
  }

  /** The worker died, or the task never reached it. */
  #retry(order: Order, reason: string, cause: unknown): void {
    if (!this.#ended(order)) return;
    const { work } = order.task;
    remember(this.#problems, `worker lost under "${work}" (attempt ${order.attempts}): ${reason}`);
    if (order.attempts < this.#attempts) {
      this.#retries++;
      this.#waiting.unshift(order);
    } else {
      order.reject(
        new MachineError(`worker lost ${order.attempts} times under "${work}", giving up: ${reason}`, { cause }),
      );
    }
  }

  /** A worker died without a task. When none comes up any more, nobody waits for ever. */
  #bury(cause: unknown): void {
    remember(this.#problems, `worker lost without a task: ${messageOf(cause)}`);
    if (++this.#stillborn <= this.#attempts) {
      // Piscina starts no worker in the place of one that never came up, until it is given another task.
      this.#piscina.run(encodeTask({ work: "wake up", job: null, blobs: [] })).catch(() => undefined);
      return;
    }
    const orders = [...this.#running, ...this.#waiting.clear()];
    this.#running.clear();
    for (const order of orders) {
      order.reject(new MachineError(`no worker starts: ${messageOf(cause)}`, { cause }));
    }
    this.#dispatch();
  }
}

function addTime(busy: Map<string, number>, { task: { work }, begun }: Order): void {
  busy.set(work, (busy.get(work) ?? 0) + (performance.now() - begun) / 1_000);
}
