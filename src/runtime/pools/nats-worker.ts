/**
 * A worker anywhere: hears of runs, serves one at a time with a pool of its own, and goes on to the next. It executes
 * programs that are data and never code of a scenario; whatever a run sends is checked by size, digest and shape.
 */
import type { Consumer, JsMsg } from "@nats-io/jetstream";
import { sha256 } from "../../base/digest.ts";
import { MachineError, messageOf } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";
import { decodeUntrusted, encode } from "../messages/codec.ts";
import { mostQuiet } from "./nats-attendance.ts";
import { Contents, type ContentsOptions, type Fetch } from "./nats-contents.ts";
import { delay, insist, isRefusal } from "./nats-insist.ts";
import { noteInterruptions } from "./nats-server.ts";
import {
  type Announcement,
  announcementSchema,
  defaultSilence,
  type Identity,
  misfit,
  mostAttempts,
  type Result,
  read,
  streamOf,
  subjects,
  type TaskMessage,
  type Traits,
  taskSchema,
  workersStream,
} from "./nats-wire.ts";
import { replyOf, type WorkPool } from "./pool.ts";

/** The worker closes the server's connection. */
export interface NatsWorkerOptions extends ContentsOptions {
  /** Tasks at a time. */
  readonly slots: number;
  readonly cores: number;
  readonly host: string;
  readonly is: Traits;
  /** Makes what works for a run. @throws when this machine cannot, with the reason */
  open(setup: Uint8Array, fetch: Fetch): Promise<WorkPool>;
  readonly note: (text: string) => void;
  /** Takes no more tasks, and finishes those under way. */
  readonly signal: AbortSignal;
  readonly silence?: number;
}

interface Heard extends Announcement {
  /** Beats since it was heard. */
  quiet: number;
}

export class NatsWorker {
  readonly #options: NatsWorkerOptions;
  readonly #self: Identity;
  readonly #beat: number;
  readonly #runs = new Map<string, Heard>();
  /** Runs that this worker cannot serve. */
  readonly #refused = new Set<string>();
  #refuses: string | null = null;
  #serving: string | null = null;
  /** Tasks at a time; a device that has one owner takes one, whatever was asked for. */
  #slots: number;
  #done = 0;
  /** Beats for which another run has had too few workers. */
  #uneven = 0;
  /** Something was heard that may matter. */
  #wake: () => void = () => {};

  constructor(options: NatsWorkerOptions) {
    this.#options = options;
    const { server, slots, host, is, silence = defaultSilence } = options;
    this.#slots = slots;
    this.#self = { id: server.newName(), host, is };
    this.#beat = silence / 10;
  }

  /** Resolves when `signal` was given and the tasks under way are done. */
  async work(): Promise<void> {
    const { server, signal } = this.#options;
    const { connection, manager } = server;
    signal.addEventListener("abort", () => this.#wake());
    await manager.streams
      .add({
        name: workersStream,
        subjects: [subjects.workers],
        max_msgs_per_subject: 1,
        storage: "memory",
        max_age: 3_600e9,
      })
      .catch((error: unknown) => this.#options.note(`flame workers will not list this one: ${messageOf(error)}`));
    connection.subscribe(subjects.announcements, {
      callback: (error, message) => {
        if (error === null) this.#hear(message.data);
        else this.#options.note(`cannot hear of runs: ${error.message}`);
      },
    });
    void noteInterruptions(server, this.#options.note);
    const timer = setInterval(() => this.#onBeat(), this.#beat);
    const ended = connection.closed().then((error) => {
      throw new MachineError(`the connection to ${server.url} ended`, { cause: error });
    });
    try {
      this.#tell();
      await Promise.race([this.#serveAll(), ended]);
    } finally {
      clearInterval(timer);
      ended.catch(() => undefined);
      this.#tell(0);
      if (!connection.isClosed()) await connection.flush().catch(() => undefined);
      await connection.close();
    }
  }

  async #serveAll(): Promise<void> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      const run = this.#choose();
      if (run === null) await this.#woken();
      else await this.#serve(run);
    }
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #hear(data: Uint8Array): void {
    try {
      const told = read(announcementSchema, data, "what a run says of itself");
      if (told.over) this.#runs.delete(told.run);
      else this.#runs.set(told.run, { ...told, quiet: 0 });
    } catch (error) {
      this.#options.note(messageOf(error));
    }
    this.#wake();
  }

  #onBeat(): void {
    this.#tell();
    this.#uneven++;
    for (const [run, heard] of this.#runs) if (++heard.quiet > mostQuiet) this.#runs.delete(run);
    this.#wake();
  }

  /** @param slots none for a farewell */
  #tell(slots = this.#slots): void {
    const { server, cores, signal } = this.#options;
    const { connection } = server;
    if (connection.isClosed()) return;
    const serving = signal.aborted ? null : this.#serving;
    const presence = { worker: this.#self, cores, slots, done: this.#done, serving, refuses: this.#refuses };
    connection.publish(subjects.worker(this.#self.id), encode(presence));
  }

  /** The run with the fewest workers, of those that this one can serve. */
  #choose(): Announcement | null {
    const open = [...this.#runs.values()].filter(({ run, title, needs }) => {
      if (this.#refused.has(run)) return false;
      const problem = misfit(needs, this.#self.is);
      if (problem !== null) this.#refuse(run, title, problem);
      return problem === null;
    });
    return open.toSorted((a, b) => a.slots - b.slots)[0] ?? null;
  }

  /** Whether workers would be spread more evenly if this one went elsewhere. Not all see it at the same beat. */
  #isNeededMore(): boolean {
    const slots = this.#slots;
    const here = this.#runs.get(this.#serving ?? "")?.slots ?? 0;
    const there = this.#choose()?.slots ?? here;
    if (there + 2 * slots > here) this.#uneven = 0;
    const turn = Number.parseInt(sha256(`${this.#self.id} ${this.#done}`).slice(0, 2), 16) % 8;
    return this.#uneven > turn;
  }

  #refuse(run: string, title: string, problem: string): void {
    this.#refused.add(run);
    this.#refuses = problem.replaceAll(/\p{Cc}/gu, " ").slice(0, 500);
    this.#options.note(`does not serve ${title}: ${problem}`);
    this.#tell();
  }

  async #serve({ run, title, setup }: Announcement): Promise<void> {
    const { server, open, note, signal } = this.#options;
    let pool: WorkPool;
    let contents: Contents;
    let consumer: Consumer;
    try {
      contents = new Contents(this.#options, run, await server.store(streamOf(run), "open"));
      const isOver = () => signal.aborted || !this.#runs.has(run);
      pool = await open(await contents.fetch(setup, isOver), (content) => contents.fetch(content, isOver));
      consumer = await server.jetstream.consumers.get(streamOf(run), "workers");
    } catch (error) {
      if (!signal.aborted && this.#runs.has(run)) this.#refuse(run, title, messageOf(error));
      return;
    }
    note(`serves ${title}`);
    this.#serving = run;
    this.#refuses = null;
    this.#slots = Math.min(this.#options.slots, pool.workers);
    this.#uneven = 0;
    this.#tell();
    const before = this.#done;
    const service = new Service(this.#options, { run, self: this.#self, pool, contents, consumer });
    for (let slot = 0; slot < this.#slots; slot++) {
      void service.takeTasks(() => this.#done++).finally(() => this.#wake());
    }
    const goesOn = () => service.problem === null && !signal.aborted && !server.connection.isClosed();
    while (goesOn() && this.#runs.has(run) && !this.#isNeededMore()) await this.#woken();
    this.#serving = null;
    this.#slots = this.#options.slots;
    this.#tell();
    await service.stop();
    await pool.close();
    note(`has done ${this.#done - before} tasks for ${title}`);
    if (service.problem !== null) this.#refuse(run, title, service.problem);
  }
}

interface Serving {
  readonly run: string;
  readonly self: Identity;
  readonly pool: WorkPool;
  readonly contents: Contents;
  readonly consumer: Consumer;
}

/** A worker's time with one run. */
class Service {
  readonly #options: NatsWorkerOptions;
  readonly #serving: Serving;
  readonly #busy = new Set<Promise<void>>();
  #stopped = false;
  /** Why this machine cannot go on with the run. */
  problem: string | null = null;

  constructor(options: NatsWorkerOptions, serving: Serving) {
    this.#options = options;
    this.#serving = serving;
  }

  /** One task after the other. */
  async takeTasks(onDone: () => void): Promise<void> {
    const { server, silence = defaultSilence } = this.#options;
    while (!this.#isOver) {
      let message: JsMsg | null = null;
      try {
        message = await this.#serving.consumer.next({ expires: Math.max(1_000, silence / 2) });
      } catch {
        if (server.connection.isClosed()) return;
        // The server is being started again, or the run has ended.
        await delay(silence / 100);
      }
      if (message === null) continue;
      if (this.#isOver) {
        message.nak();
        return;
      }
      const work = this.#work(message, onDone);
      this.#busy.add(work);
      await work;
      this.#busy.delete(work);
    }
  }

  /** Finishes what has begun. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#busy);
  }

  get #isOver(): boolean {
    return this.#stopped || this.problem !== null;
  }

  /** @throws when the task's content cannot be had, unless it was tried often enough to say so */
  async #do({ work, job, blobs }: TaskMessage, attempt: number): Promise<Uint8Array<ArrayBuffer>> {
    const { contents, pool } = this.#serving;
    if (attempt > mostAttempts) return failed(`"${work}" was begun ${mostAttempts} times, and no worker came back`);
    const fetch = async () => {
      const views = blobs.map(async (blob) => [blob.digest, await contents.get(blob, () => this.#isOver)] as const);
      const unpacked = await contents.unpack(job, () => this.#isOver);
      return { job: decodeUntrusted(unpacked, "a job"), blobs: await Promise.all(views) };
    };
    try {
      const fetched = await fetch();
      return await replyOf(async () => {
        try {
          return await pool.run({ work, ...fetched });
        } catch (error) {
          // The machine is at fault, and not the task: others will do it.
          if (error instanceof MachineError) this.problem = error.message;
          throw error;
        }
      });
    } catch (error) {
      if (attempt < mostAttempts) throw error;
      return failed(messageOf(error));
    }
  }

  async #work(message: JsMsg, onDone: () => void): Promise<void> {
    const { server, silence = defaultSilence, note } = this.#options;
    const { connection } = server;
    const attempt = message.info.deliveryCount;
    const begun = performance.now();
    const beat = setInterval(() => {
      if (!connection.isClosed()) message.working();
    }, silence / 5);
    try {
      const task = read(taskSchema, message.data, "a task");
      const reply = await this.#do(task, attempt);
      if (this.problem !== null) throw new MachineError(this.problem);
      await this.#deliver(reply, { id: task.id, attempt, took: performance.now() - begun });
      message.ack();
      onDone();
    } catch (error) {
      note(`a task is handed back: ${messageOf(error)}`);
      if (!connection.isClosed()) message.nak(this.problem === null ? silence / 30 : 0);
    } finally {
      clearInterval(beat);
    }
  }

  async #deliver(reply: Uint8Array<ArrayBuffer>, about: Pick<Result, "id" | "attempt" | "took">): Promise<void> {
    const { jetstream } = this.#options.server;
    const { run, self, contents } = this.#serving;
    const publish = async (reply: Uint8Array<ArrayBuffer>) => {
      const result = { ...about, worker: self, reply: await contents.pack(reply) };
      await jetstream.publish(subjects.of(run, "done"), encode(result));
    };
    try {
      await insist(
        () => publish(reply),
        () => this.#stopped,
      );
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // There may be room for this.
      const reason = `the NATS server takes no result of ${formatBytes(reply.length)}: ${messageOf(error)}`;
      await publish(await failed(reason)).catch(() => {
        this.problem = reason;
        throw error;
      });
    }
  }
}

const failed = (reason: string): Promise<Uint8Array<ArrayBuffer>> =>
  replyOf(() => Promise.reject(new MachineError(reason)));
