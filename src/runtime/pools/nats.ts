/**
 * The pool with workers anywhere: tasks go to whoever is there through a work queue of JetStream, beside the pool of
 * this process where there is one.
 *
 * A task is a pure function of plain data. So one that falls silent is given to another worker, one that is done twice
 * counts once, and whoever is killed takes nothing with it but time. No more tasks lie in the queue than there are workers
 * for; a task nobody wants any more by then is not sent. Nothing that comes back is believed before it was checked, and
 * the worst that a worker can do is to let the run fail.
 *
 * Its stream and store go when a run ends; those of a run that was killed, when somebody else comes a day later.
 */
import type { JsMsg } from "@nats-io/jetstream";
import { sha256 } from "../../base/digest.ts";
import { InputError, invariant, MachineError, messageOf } from "../../base/errors.ts";
import { formatTime } from "../../base/units.ts";
import { encode } from "../messages/codec.ts";
import { Attendance, mostQuiet } from "./nats-attendance.ts";
import { insist, isRefusal } from "./nats-insist.ts";
import { type Order, Orders, type Sent } from "./nats-orders.ts";
import { type NatsServer, noteInterruptions } from "./nats-server.ts";
import { type ContentStore, Supply } from "./nats-store.ts";
import { isBusy, isMissing, makeStream, removeAbandoned } from "./nats-stream.ts";
import {
  type Content,
  defaultSilence,
  misfit,
  mostAttempts,
  type Result,
  read,
  replySchema,
  resultSchema,
  streamOf,
  subjects,
  type Traits,
} from "./nats-wire.ts";
import { encodeTask, failureOf, type PoolDiagnostics, remember, type Task, type WorkPool } from "./pool.ts";

export interface NatsPoolOptions {
  /** The pool closes it. */
  readonly server: NatsServer;
  /** Of the run, for those who look. */
  readonly title: string;
  /** What a worker has to be. */
  readonly needs: Traits;
  /** What a worker is set up with, as whoever opens it there reads it. */
  readonly setup: Uint8Array;
  /** More content that workers may ask for, by digest. */
  readonly contents?: ReadonlyMap<string, () => Uint8Array>;
  /** Works beside them, and is closed with the pool. */
  readonly local?: WorkPool | null;
  /** @throws InputError for a result that is none of this work's */
  readonly check?: (task: Task, value: unknown) => void;
  /** Told who comes, goes and is not used, for the user. */
  readonly note?: (text: string) => void;
  /** Told of every task that a worker elsewhere has done. */
  readonly onDone?: (task: Task, by: Pick<Result, "worker" | "took" | "attempt">) => void;
  readonly silence?: number;
  /** Real milliseconds that a worker is left alone with any task. Default ten minutes. */
  readonly patience?: number;
}

export class NatsPool implements WorkPool {
  readonly #options: NatsPoolOptions;
  readonly #run: string;
  readonly #store: ContentStore;
  readonly #setup: Content;
  readonly #beat: number;
  #timer: NodeJS.Timeout | undefined;
  readonly #attendance: Attendance;
  readonly #waiting: Order[] = [];
  readonly #remote: Orders;
  readonly #supply: Supply;
  readonly #problems: string[] = [];
  #longest = 0;
  #local = 0;
  #completed = 0;
  #retries = 0;
  /** Beats without a result. */
  #quiet = 0;
  /** Why the run cannot go on. */
  #failure: Error | null = null;
  #closed = false;
  #whenIdle: (() => void) | null = null;

  /** @throws MachineError when the server refuses what the run needs there */
  static async open(options: NatsPoolOptions): Promise<NatsPool> {
    const { server, silence = defaultSilence } = options;
    const run = server.newName();
    try {
      await makeStream(server.manager, run, silence);
      const pool = new NatsPool(options, run, await server.store(streamOf(run), "make"));
      await pool.#listen();
      return pool;
    } catch (cause) {
      await server.manager.streams.delete(streamOf(run)).catch(() => undefined);
      await server.connection.close();
      await options.local?.close();
      throw new MachineError(`the NATS server ${server.url} does not take the run: ${messageOf(cause)}`, { cause });
    }
  }

  private constructor(options: NatsPoolOptions, run: string, store: ContentStore) {
    this.#options = options;
    this.#run = run;
    this.#store = store;
    this.#supply = new Supply(store, {
      find: (digest) => this.#content(digest),
      isOver: () => options.server.connection.isClosed(),
      onProblem: (text, error) => {
        remember(this.#problems, text);
        this.#onRefusal(error);
      },
    });
    this.#attendance = new Attendance(run, options.needs, (text) => {
      if (!this.#closed) options.note?.(text);
    });
    this.#setup = { digest: sha256(options.setup), bytes: options.setup.length };
    const { silence = defaultSilence, patience = 600_000 } = options;
    this.#beat = silence / 10;
    this.#remote = new Orders(patience / this.#beat);
  }

  get workers(): number {
    return (this.#options.local?.workers ?? 0) + this.#attendance.slots;
  }

  get diagnostics(): PoolDiagnostics {
    const own = this.#options.local?.diagnostics ?? { completed: 0, retries: 0, stuck: 0, problems: [] };
    const who = [...this.#attendance.done, ...(own.completed > 0 ? [`${own.completed} here`] : [])].join(", ");
    return {
      completed: own.completed + this.#completed,
      retries: own.retries + this.#retries,
      stuck: own.stuck,
      problems: [...own.problems, ...this.#problems],
      summary: `tasks: ${who || "none"}; ${this.#retries} begun again, at most ${this.#longest} in the queue`,
    };
  }

  async run(task: Task, isWanted: () => boolean = () => true): Promise<unknown> {
    invariant(!this.#closed, () => `"${task.work}" came to a pool that is closed`);
    if (this.#failure !== null) throw this.#failure;
    const encoded = encodeTask(task);
    return new Promise((resolve, reject) => {
      const fresh = { job: null, sendings: 0, attempts: 0, isRead: false, isDone: false };
      this.#waiting.push({ task, encoded, isWanted, resolve, reject, ...fresh });
      this.#dispatch();
      this.#longest = Math.max(this.#longest, this.#waiting.length);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { local, server } = this.#options;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
      this.#forget();
    });
    clearInterval(this.#timer);
    await local?.close();
    const { connection, manager } = server;
    if (connection.isClosed()) return;
    this.#announce();
    const gone = [manager.streams.delete(streamOf(this.#run)), this.#store.destroy()];
    for (const { reason } of (await Promise.allSettled(gone)).filter((end) => end.status === "rejected")) {
      remember(this.#problems, `the run was not removed from ${server.url}: ${messageOf(reason)}`);
    }
    await connection.close();
  }

  get #isIdle(): boolean {
    return this.#waiting.length + this.#remote.size + this.#local === 0;
  }

  async #listen(): Promise<void> {
    const { server, note = () => {} } = this.#options;
    const { connection, jetstream } = server;
    const each = (subject: string, take: (data: Uint8Array, respond: (text: string) => void) => unknown) =>
      connection.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) take(message.data, (text) => void (connection.isClosed() || message.respond(text)));
          else this.#fail(new MachineError(`the NATS server ${server.url} refuses ${subject}: ${error.message}`));
        },
      });
    each(subjects.workers, (data) => this.#hear(data));
    each(subjects.of(this.#run, "want"), (data, respond) => this.#supply.answer(Buffer.from(data).toString(), respond));
    const results = await (await jetstream.consumers.get(streamOf(this.#run), "run")).consume({ max_messages: 100 });
    this.#takeAll(results).catch((cause: unknown) => this.#fail(new MachineError(messageOf(cause), { cause })));
    connection.closed().then((error) => {
      if (error) this.#fail(new MachineError(`the connection to ${server.url} ended: ${error.message}`));
    });
    void noteInterruptions(server, note);
    this.#announce();
    if (!this.#options.local) note(`waits for workers: npx flame worker --nats ${server.url}`);
    this.#timer = setInterval(() => this.#onBeat(), this.#beat);
    void removeAbandoned(server.manager, { wait: 5 * this.#beat, isOver: () => this.#closed });
  }

  #announce(): void {
    const { server, title, needs } = this.#options;
    if (server.connection.isClosed()) return;
    const over = this.#closed && this.#isIdle;
    const told = { run: this.#run, title, needs, setup: this.#setup, slots: this.#attendance.slots, over };
    server.connection.publish(subjects.of(this.#run, "announce"), encode(told));
  }

  #onBeat(): void {
    this.#announce();
    this.#attendance.beat();
    for (const late of this.#remote.beat()) this.#giveElsewhere(late);
    if (this.#remote.size === 0) this.#quiet = 0;
    else if (++this.#quiet % mostQuiet === 0) void this.#findLost();
    if (this.#closed) this.#forget();
  }

  #hear(data: Uint8Array): void {
    try {
      const before = this.#attendance.slots;
      if (this.#attendance.hear(data) || this.#attendance.slots !== before) this.#announce();
      this.#dispatch();
    } catch (error) {
      remember(this.#problems, messageOf(error));
    }
  }

  #dispatch(): void {
    const { local = null } = this.#options;
    while (this.#waiting.length > 0) {
      const here = local !== null && this.#local < local.workers ? local : null;
      if (here === null && this.#remote.size >= this.#attendance.slots) break;
      const order = this.#waiting.shift()!;
      if (order.isDone || !order.isWanted()) order.resolve(undefined);
      else if (here === null) this.#send(order);
      else this.#workHere(order, here);
    }
    if (this.#isIdle) this.#whenIdle?.();
  }

  /** Nobody waits for the result of what nobody wants. */
  #forget(): void {
    for (const { order } of this.#remote.all) {
      if (order.isWanted()) continue;
      this.#remote.drop(order);
      order.resolve(undefined);
    }
    for (const order of this.#waiting.splice(0)) {
      if (order.isWanted()) this.#waiting.push(order);
      else order.resolve(undefined);
    }
    this.#dispatch();
  }

  #workHere(order: Order, local: WorkPool): void {
    this.#local++;
    local
      .run(order.task, () => !order.isDone && order.isWanted())
      .then(order.resolve, order.reject)
      .finally(() => {
        this.#local--;
        order.isDone = true;
        this.#remote.drop(order);
        this.#dispatch();
      });
  }

  #send(order: Order): void {
    const sent = this.#remote.send(order);
    this.#queue(sent).catch((error: unknown) => {
      this.#onRefusal(error);
      this.#retry(sent, messageOf(error));
    });
  }

  /** It may be stuck there: who comes first counts. */
  #giveElsewhere({ order, beats }: Sent): void {
    const since = formatTime(Math.round(beats * this.#beat));
    const text = `"${order.task.work}" has been with a worker for ${since}: the next who has time begins it, too`;
    remember(this.#problems, text);
    this.#options.note?.(text);
    this.#retries++;
    this.#waiting.push(order);
    this.#dispatch();
  }

  async #queue(sent: Sent): Promise<void> {
    const { id, order } = sent;
    const { connection, jetstream } = this.#options.server;
    const { work, job, blobs } = order.encoded;
    const named = blobs.map(([digest, content]) => ({ digest, bytes: content.length }));
    order.job ??= this.#store.wrap(job);
    const message = encode({ id, work, job: order.job, blobs: named });
    await insist(
      // By its name the server knows a message that it has already.
      () => jetstream.publish(subjects.of(this.#run, "task"), message, { msgID: `task ${id}` }),
      () => connection.isClosed() || !this.#remote.has(sent),
    );
    sent.isQueued = true;
  }

  /** A server that is full, or may hold no more of the run, ends it. */
  #onRefusal(error: unknown): void {
    if (!isRefusal(error)) return;
    this.#fail(new MachineError(`the NATS server ${this.#options.server.url} takes no more: ${error.message}`));
  }

  async #takeAll(results: AsyncIterable<JsMsg>): Promise<void> {
    for await (const message of results) void this.#take(message);
  }

  /** A result has come, or what claims to be one. */
  async #take(message: JsMsg): Promise<void> {
    const { needs, check, onDone, server } = this.#options;
    let sent: Sent | undefined;
    try {
      const result = read(resultSchema, message.data, "a result");
      const { worker, reply, took, attempt } = result;
      const awaited = this.#remote.get(result.id);
      if (awaited === undefined || awaited.order.isRead) {
        // Somebody else was faster; what is being read may be the same content.
        if (!this.#remote.all.some(({ order }) => order.isRead)) this.#supply.discard(reply);
        return;
      }
      sent = awaited;
      const { order } = sent;
      order.isRead = true;
      const problem = misfit(needs, worker.is);
      if (problem !== null) throw new InputError(`from ${worker.host}: ${problem}`);
      const found = read(replySchema, await this.#store.unpack(reply), `the reply from ${worker.host}`);
      if (found.ok) check?.(order.task, found.value);
      if (!this.#remote.has(sent)) return;
      this.#remote.finish(sent);
      this.#quiet = 0;
      this.#retries += Math.max(0, attempt - 1);
      if (found.ok) {
        this.#completed++;
        this.#attendance.credit(worker);
        order.resolve(found.value);
        onDone?.(order.task, { worker, took, attempt });
      } else {
        remember(this.#problems, `"${order.task.work}" threw on ${worker.host}: ${found.message}`);
        order.reject(failureOf({ ...found, stack: found.stack }));
      }
      this.#supply.discard(reply);
    } catch (error) {
      if (sent === undefined) remember(this.#problems, `a result was refused: ${messageOf(error)}`);
      else this.#retry(sent, `its result was refused: ${messageOf(error)}`);
    } finally {
      if (!server.connection.isClosed()) message.ack();
      this.#dispatch();
    }
  }

  #retry(sent: Sent, reason: string): void {
    if (!this.#remote.has(sent)) return;
    const { order } = sent;
    this.#remote.drop(order);
    order.isRead = false;
    remember(this.#problems, `"${order.task.work}" is begun again: ${reason}`);
    if (++order.attempts < mostAttempts) {
      this.#retries++;
      this.#waiting.unshift(order);
    } else
      order.reject(new MachineError(`"${order.task.work}" went wrong ${order.attempts} times, giving up: ${reason}`));
    this.#dispatch();
  }

  /** Sees that what is awaited is still with somebody: a worker may have taken it off the queue without a result. */
  async #findLost(): Promise<void> {
    const before = this.#remote.all.filter(({ isQueued }) => isQueued);
    try {
      if (await isBusy(this.#options.server.manager, this.#run)) return;
    } catch (error) {
      if (isMissing(error)) this.#fail(new MachineError(`the run is gone from the NATS server: ${messageOf(error)}`));
      return;
    }
    for (const sent of before) this.#retry(sent, "its worker has lost it");
  }

  #content(digest: string): Uint8Array {
    if (digest === this.#setup.digest) return this.#options.setup;
    const make = this.#options.contents?.get(digest);
    if (make !== undefined) return make();
    for (const { order } of this.#remote.all) {
      const { encoded, job } = order;
      const blob = encoded.blobs.find(([name]) => name === digest);
      if (blob !== undefined) return blob[1];
      if (job?.digest === digest) return encoded.job;
    }
    throw new InputError("the run does not have it, or no longer");
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const order of [...this.#remote.all.map(({ order }) => order), ...this.#waiting.splice(0)]) {
      this.#remote.drop(order);
      order.reject(error);
    }
    this.#dispatch();
  }
}
