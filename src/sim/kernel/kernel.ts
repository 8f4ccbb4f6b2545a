/**
 * The virtual clock. Events happen in order of `(time, sequence)`, one at a time; between two of them no time passes
 * that anybody could see. A handler may do real work for seconds: virtual time stands still meanwhile, and nothing
 * that happens later depends on how long it took.
 */

import { setImmediate as macrotask } from "node:timers/promises";
import * as z from "zod";
import { buggify } from "../../base/buggify.ts";
import { InputError, InvariantError, invariant } from "../../base/errors.ts";
import { whole, wholeAs } from "../../base/fields.ts";
import { parseInput, show } from "../../base/problem.ts";
import type { Snapshot } from "../../base/snapshot.ts";
import type { Millis } from "../../base/units.ts";
import { EventQueue, type SimEvent } from "./event-queue.ts";

/**
 * Called when its event happens. A promise it returns is waited for before the next event.
 *
 * @param sequence the event's, as `schedule` returned it
 */
export type Handler<Data = unknown> = (data: Data, sequence: number) => void | Promise<void>;

/** Sees each event just before it is handled, with the clock already moved. It must change nothing. */
export type Onlooker = (event: SimEvent) => void;

export const kernelSchema = z.strictObject({
  now: wholeAs<Millis>(),
  nextSequence: whole,
  processed: whole,
  /** In the order in which they will happen. */
  queue: z.array(z.strictObject({ time: wholeAs<Millis>(), sequence: whole, kind: z.string(), data: z.unknown() })),
});
export type KernelState = Readonly<z.output<typeof kernelSchema>>;

/** Events between two visits to Node's event loop, which lets Ctrl-C and the live display in. */
const eventsPerVisit = 4096;

export class Kernel implements Snapshot<KernelState> {
  readonly #queue = new EventQueue();
  /** By the number of their kind. */
  readonly #handlers: (Handler | undefined)[] = [];
  readonly #schemas = new Map<string, z.ZodType>();
  #onlookers: readonly Onlooker[] = [];
  #now = 0 as Millis;
  #nextSequence = 0;
  #processed = 0;
  #running = false;

  get now(): Millis {
    return this.#now;
  }

  /** Events taken up so far, over the whole run, including the one being handled. */
  get processed(): number {
    return this.#processed;
  }

  /** Events scheduled and not yet handled. */
  get pending(): number {
    return this.#queue.size;
  }

  /**
   * Each kind has one handler for the whole run.
   *
   * @param schema of what an event of a checkpoint may bring
   */
  on<Data>(kind: string, handler: Handler<Data>, schema: z.ZodType<Data> = anything): void {
    const code = this.#queue.codeOf(kind);
    invariant(this.#handlers[code] === undefined, () => `event kind "${kind}" has a handler already`);
    this.#handlers[code] = handler as Handler;
    this.#schemas.set(kind, schema);
  }

  /** What is scheduled of a kind, in no order. */
  scheduled(kind: string): SimEvent[] {
    return this.#queue.ofKind(kind);
  }

  /** Returns the function that ends the observation. */
  observe(onlooker: Onlooker): () => void {
    this.#onlookers = [...this.#onlookers, onlooker];
    return () => {
      this.#onlookers = this.#onlookers.filter((other) => other !== onlooker);
    };
  }

  /**
   * Lets an event happen at `at`, after all those already scheduled for that instant.
   *
   * @param at not before `now`
   * @param data plain data, not changed afterwards
   * @returns the event's sequence number
   */
  schedule(at: Millis, kind: string, data: unknown): number {
    if (!(at >= this.#now && Number.isSafeInteger(at))) {
      throw new InvariantError(
        `event "${kind}" scheduled at ${at}, expected whole milliseconds from ${this.#now} (now) on`,
      );
    }
    const sequence = this.#nextSequence++;
    this.#queue.push(at, sequence, kind, data);
    return sequence;
  }

  /**
   * Handles events until none is pending or `until` holds; it is asked before each event. What a handler throws ends
   * the run and comes out here, with the clock at the event.
   *
   * @returns the number of events handled by this call
   */
  async run({ until }: { readonly until?: () => boolean } = {}): Promise<number> {
    invariant(!this.#running, "the kernel is running already");
    this.#running = true;
    const before = this.#processed;
    const queue = this.#queue;
    try {
      while (queue.size > 0 && !until?.()) {
        const { time, sequence, data, kind: code } = queue;
        this.#now = time;
        queue.drop();
        const handler = this.#handlers[code];
        if (handler === undefined) throw new InvariantError(`event kind "${queue.kindOf(code)}" has no handler`);
        if (this.#onlookers.length > 0) {
          const event: SimEvent = { time, sequence, kind: queue.kindOf(code), data };
          for (const onlooker of this.#onlookers) onlooker(event);
        }
        this.#processed++;
        const pending = handler(data, sequence);
        if (pending instanceof Promise) await pending;
        const isTime = (this.#processed - before) % eventsPerVisit === 0;
        if (isTime || buggify("run: the event loop is let in after an event")) await macrotask();
      }
    } finally {
      this.#running = false;
    }
    return this.#processed - before;
  }

  /** Taken between events or by a handler, whose own event then counts as past: a resumed run does not repeat it. */
  snapshot(): KernelState {
    return {
      now: this.#now,
      nextSequence: this.#nextSequence,
      processed: this.#processed,
      queue: this.#queue.snapshot(),
    };
  }

  /**
   * Handlers and onlookers stay; they are code, not state.
   *
   * @throws InputError for an event that cannot happen
   */
  restore(state: KernelState): void {
    invariant(!this.#running, "the kernel cannot be restored while it runs");
    this.#check(state);
    this.#now = state.now;
    this.#nextSequence = state.nextSequence;
    this.#processed = state.processed;
    this.#queue.restore(state.queue);
  }

  #check({ now, nextSequence, queue }: KernelState): void {
    let before: SimEvent = { time: now, sequence: -1, kind: "", data: null };
    const sequences = new Set<number>();
    for (const [at, event] of queue.entries()) {
      const { time, sequence, kind, data } = event;
      const place = `kernel.queue[${at}]`;
      const schema = this.#schemas.get(kind);
      if (schema === undefined) {
        throw new InputError(`${place}.kind is ${show(kind)}, expected one of ${[...this.#schemas.keys()].join(", ")}`);
      }
      parseInput(`${place}.data of "${kind}"`, schema, data);
      if (time < before.time || (time === before.time && sequence <= before.sequence)) {
        throw new InputError(`${place} is event ${sequence} at ${time} ms, expected one after ${before.time} ms`);
      }
      if (sequence >= nextSequence || sequences.has(sequence)) {
        throw new InputError(`${place}.sequence is ${sequence}, expected one of its own below ${nextSequence}`);
      }
      sequences.add(sequence);
      before = event;
    }
  }
}

const anything = z.any();
