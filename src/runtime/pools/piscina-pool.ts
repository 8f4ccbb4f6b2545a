/**
 * The pool with threads, on piscina: one task at a time per worker, every worker started at once and kept. Short tasks of a
 * kind travel together, as to wake a thread and to be answered can take longer than they do.
 *
 * A worker that dies takes nothing with it but time: its tasks are run again, each alone, and give the same results. A
 * worker that shows no sign of life within the watchdog's limit is ended. Where it hangs in JavaScript its tasks begin
 * anew; where it hangs in native code, ending the thread ends the process, and `flame resume` goes on from the last
 * checkpoint. The stopwatch here watches the machine; no simulated thing depends on it.
 */
import { fileURLToPath } from "node:url";
import type { Worker } from "node:worker_threads";
import { Piscina } from "piscina";
import { invariant, MachineError, messageOf } from "../../base/errors.ts";
import { free } from "../../tensor/executors/memory.ts";
import {
  type Answer,
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
import type { WatchedTasks } from "./worker-host.ts";

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
}

/** What a worker is at: tasks of one kind. */
interface Batch {
  readonly orders: readonly Order[];
  /** By the stopwatch. */
  readonly begun: number;
}

/** How many milliseconds of work go to a worker at once: ten times what it takes to send them and to hear of it. */
const batchTime = 10;

/** So many bytes are given back as soon as they are read. */
const large = 1 << 16;

const unknown: Nature = { kind: null, effort: 0, isPatient: false };

export class PiscinaPool implements WorkPool {
  readonly workers: number;
  readonly #piscina: Piscina<WatchedTasks, Answer[]>;
  /** Whether each thread has loaded its module, or ended. */
  readonly #loaded: Promise<unknown>;
  readonly #attempts: number;
  readonly #stuckAfter: number;
  readonly #problems: string[] = [];
  readonly #natureOf: (task: Task) => Nature;
  readonly #waiting = new WaitingTasks<Order>();
  readonly #running = new Set<Batch>();
  /** Milliseconds for a unit of effort, by kind, when a batch of it was last done. */
  readonly #pace = new Map<string | null, number>();
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
    this.#piscina = new Piscina<WatchedTasks, Answer[]>({
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
    this.#loaded = Promise.all(this.#piscina.threads.map(firstWord));
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
      this.#waiting.push({ ...this.#natureOf(task), task: encoded, isWanted, resolve, reject, attempts: 0 });
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
    // Node 20 aborts the process where a thread is ended while it loads modules.
    await this.#loaded;
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
        this.#begin([order, ...this.#others(order)]);
      } else order.resolve(undefined);
    }
    if (this.#running.size === 0) this.#whenIdle?.();
  }

  /** What goes along with a task: little enough that no worker is without work while others have much left. */
  #others({ kind, effort, isPatient }: Order): Order[] {
    const pace = this.#pace.get(kind);
    if (kind === null || pace === undefined) return [];
    const most = Math.min(batchTime / (pace * effort), this.#waiting.size / (2 * this.workers));
    return this.#waiting.takeAlike(kind, isPatient, Math.floor(most)).filter((order) => {
      if (order.isWanted()) return true;
      order.resolve(undefined);
      return false;
    });
  }

  #begin(orders: readonly Order[]): void {
    const batch: Batch = { orders, begun: performance.now() };
    for (const order of orders) order.attempts++;
    const { work } = orders[0]!.task;
    this.#running.add(batch);
    const watchdog = new AbortController();
    const pulse = newPulse();
    this.#pulses.add(pulse);
    const stopWatching = watch(pulse, this.#stuckAfter, {
      quiet: () => remember(this.#problems, `"${work}" has finished no step for ${this.#stuckAfter / 2_000} s`),
      stuck: () => {
        this.#stuck++;
        watchdog.abort();
      },
    });
    this.#piscina
      .run({ tasks: orders.map(({ task }) => task), pulse }, { signal: watchdog.signal })
      .then(
        (answers) => this.#settle(batch, answers, pulse),
        (error: unknown) =>
          this.#retry(
            batch,
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

  #settle(batch: Batch, answers: readonly Answer[], pulse: Pulse): void {
    this.#ended(batch);
    const thread = pulse[1]!;
    const { kind } = batch.orders[0]!;
    const effort = batch.orders.reduce((sum, order) => sum + order.effort, 0);
    if (effort > 0) this.#pace.set(kind, (performance.now() - batch.begun) / effort);
    this.#waiting.prepared(thread, kind);
    this.#idle.push(thread);
    this.#stillborn = 0;
    for (const [at, { task, resolve, reject }] of batch.orders.entries()) {
      try {
        const answer = answers[at]!;
        resolve(resultOf(answer));
        // All that was in them was copied, and V8 would stop for as much again.
        if (answer.bytes.length > large) free(answer.bytes.buffer);
        this.#completed++;
      } catch (error) {
        remember(this.#problems, `"${task.work}" threw: ${messageOf(error)}`);
        reject(error);
      }
    }
  }

  /** @returns false for one that was not running */
  #ended(batch: Batch): boolean {
    if (!this.#running.delete(batch)) return false;
    addTime(this.#busy, batch);
    return true;
  }

  #busyUntilNow(): Record<string, number> {
    const busy = new Map(this.#busy);
    for (const batch of this.#running) addTime(busy, batch);
    return Object.fromEntries(busy);
  }

  /** The worker died, or the tasks never reached it. */
  #retry(batch: Batch, reason: string, cause: unknown): void {
    if (!this.#ended(batch)) return;
    for (const order of batch.orders) {
      const { work } = order.task;
      remember(this.#problems, `worker lost under "${work}" (attempt ${order.attempts}): ${reason}`);
      if (order.attempts < this.#attempts) {
        this.#retries++;
        // Without a kind it has no company: who took the worker's life is not known.
        this.#waiting.unshift({ ...order, kind: null });
      } else {
        order.reject(
          new MachineError(`worker lost ${order.attempts} times under "${work}", giving up: ${reason}`, { cause }),
        );
      }
    }
  }

  /** A worker died without a task. When none comes up any more, nobody waits for ever. */
  #bury(cause: unknown): void {
    remember(this.#problems, `worker lost without a task: ${messageOf(cause)}`);
    if (++this.#stillborn <= this.#attempts) {
      // Piscina starts no worker in the place of one that never came up, until it is given another task.
      this.#piscina
        .run({ tasks: [encodeTask({ work: "wake up", job: null, blobs: [] })], pulse: newPulse() })
        .catch(() => undefined);
      return;
    }
    const orders = [...Array.from(this.#running, (batch) => batch.orders).flat(), ...this.#waiting.clear()];
    this.#running.clear();
    for (const order of orders) {
      order.reject(new MachineError(`no worker starts: ${messageOf(cause)}`, { cause }));
    }
    this.#dispatch();
  }
}

function addTime(busy: Map<string, number>, { orders, begun }: Batch): void {
  const { work } = orders[0]!.task;
  busy.set(work, (busy.get(work) ?? 0) + (performance.now() - begun) / 1_000);
}

const firstWord = (thread: Worker): Promise<void> =>
  new Promise((resolve) => {
    for (const sign of ["message", "exit"]) thread.once(sign, () => resolve());
  });
