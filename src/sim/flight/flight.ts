/**
 * Something under way: a message in the network or a computation on a device.
 *
 * A flight is an amount of work done at a rate. Work is bytes for a message, milliseconds on an undisturbed device for
 * a computation. Where it will stop, and what may cut it off before, is decided when it begins; its rate may change on
 * the way. Each flight waits for exactly one kernel event, its `event`; older events of it that still lie in the queue
 * are recognised by their sequence number and pass without effect.
 */
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { notNegative, unbounded, whole, wholeAs } from "../../base/fields.ts";
import type { ClientId, ParticipationId, Round } from "../../base/ids.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { Condition, Order } from "./environment.ts";
import { type Stage, stageNames, stages } from "./stages.ts";

/**
 * Nothing is scheduled further ahead than a day: an event that an effect overtakes stays in the queue, and the run
 * lasts until it is past.
 */
export const farAhead = 86_400_000 as Millis;

const steps = [
  /** All its work is done, or all it will ever do. */
  "end",
  /** Something takes it away in the middle. */
  "cut",
  /** It never began. */
  "refusal",
  /** Its client becomes ineligible, or eligible again, and it waits for that. */
  "turn",
  /** It should be through its shared link by now, unless that has become slower. */
  "look",
  /** The copy that was lost in the network is missed and sent again. */
  "resend",
  /** A second copy of a message that did arrive. */
  "copy",
] as const;
export type Step = (typeof steps)[number];

/**
 * Changed in place while it is under way; otherwise plain data. What is measured in fractions lies in a row of floats
 * that many flights share: as fields each would be a box of its own, and a thousand flights more than a cache holds.
 */
export class Flight implements Order {
  ticket = 0;
  client = 0 as ClientId;
  participation = 0 as ParticipationId;
  round = 0 as Round;
  stage: Stage = "training";
  /** Of the stage, from the table. */
  is: "down" | "up" | "work" = "work";
  key = 0;
  /** Second, third… part of the same client in the same round; keys its luck. */
  repeat = 0;
  startedAt = 0;
  /** Why it fails at `stopAt`; empty if it does not. */
  stopReason = "";
  cutReason = "";
  /** Copies sent before this one. */
  attempt = 0;
  /** What the network does with this copy. */
  fate: Condition | "missing" = "intact";
  isDoubled = false;
  /** Has the present copy been counted as sent? */
  isMetered = false;
  /** On a link it shares with others, which then sets its rate. */
  isShared = false;
  step: Step = "end";
  /** Sequence number of the kernel event it waits for; −1 while it waits for an effect to end. */
  event = -1;
  readonly #floats: Float64Array;
  readonly #at: number;

  /** @param floats nobody else uses `[at, at + floatsPerFlight)` */
  constructor(floats: Float64Array, at: number) {
    this.#floats = floats;
    this.#at = at;
  }

  /** Bytes, or milliseconds of undisturbed work. */
  get total(): number {
    return this.#floats[this.#at]!;
  }
  set total(value: number) {
    this.#floats[this.#at] = value;
  }

  /** Work per millisecond while nothing disturbs it. */
  get pace(): number {
    return this.#floats[this.#at + 1]!;
  }
  set pace(value: number) {
    this.#floats[this.#at + 1] = value;
  }

  /** Work per millisecond since `since`, by when `done` of it was done. */
  get rate(): number {
    return this.#floats[this.#at + 2]!;
  }
  set rate(value: number) {
    this.#floats[this.#at + 2] = value;
  }

  get since(): number {
    return this.#floats[this.#at + 3]!;
  }
  set since(value: number) {
    this.#floats[this.#at + 3] = value;
  }

  get done(): number {
    return this.#floats[this.#at + 4]!;
  }
  set done(value: number) {
    this.#floats[this.#at + 4] = value;
  }

  /** Work at which it stops: `total`, or less if it fails after a share. */
  get stopAt(): number {
    return this.#floats[this.#at + 5]!;
  }
  set stopAt(value: number) {
    this.#floats[this.#at + 5] = value;
  }

  /** The instant that takes it away, if it is still under way then. */
  get cutAt(): number {
    return this.#floats[this.#at + 6]!;
  }
  set cutAt(value: number) {
    this.#floats[this.#at + 6] = value;
  }

  /** Milliseconds between the last byte's departure and its arrival. */
  get tail(): number {
    return this.#floats[this.#at + 7]!;
  }
  set tail(value: number) {
    this.#floats[this.#at + 7] = value;
  }

  begin(order: Order, stage: Stage, repeat: number, total: number, now: number): void {
    this.ticket = order.ticket;
    this.client = order.client;
    this.participation = order.participation;
    this.round = order.round;
    this.stage = stage;
    const { is, key } = stages[stage];
    this.is = is;
    this.key = key;
    this.repeat = repeat;
    this.startedAt = now;
    this.total = total;
    this.pace = 1;
    this.rate = 0;
    this.since = now;
    this.done = 0;
    this.stopAt = total;
    this.stopReason = "";
    this.cutAt = Infinity;
    this.cutReason = "";
    this.tail = 0;
    this.attempt = 0;
    this.fate = "intact";
    this.isDoubled = false;
    this.isMetered = false;
    this.isShared = false;
    this.step = "end";
    this.event = -1;
  }

  /** As plain data. */
  snapshot(): FlightState {
    const { total, pace, rate, since, done, stopAt, cutAt, tail } = this;
    return { ...this, total, pace, rate, since, done, stopAt, cutAt, tail };
  }
}

/** All of a flight's fields. */
const flightSchema = z.strictObject({
  ticket: whole,
  client: wholeAs<ClientId>(),
  participation: wholeAs<ParticipationId>(),
  round: wholeAs<Round>(),
  stage: z.enum(stageNames),
  is: z.enum(["down", "up", "work"]),
  key: whole,
  repeat: whole,
  startedAt: whole,
  stopReason: z.string(),
  cutReason: z.string(),
  attempt: whole,
  fate: z.enum(["intact", "corrupted", "missing"]),
  isDoubled: z.boolean(),
  isMetered: z.boolean(),
  isShared: z.boolean(),
  step: z.enum(steps),
  event: z.int().min(-1),
  total: notNegative,
  pace: unbounded,
  rate: unbounded,
  since: notNegative,
  done: notNegative,
  stopAt: notNegative,
  cutAt: unbounded,
  tail: notNegative,
});
type FlightState = Readonly<z.output<typeof flightSchema>>;

const floatsPerFlight = 8;
/** Flights whose rows lie in one stretch of memory. */
const flightsPerStretch = 64;

/** Floating-point sums of durations may miss a whole millisecond by this much. */
const rounding = 1e-6;

/** The first whole millisecond at or after `time`, and not before `now`; null for what never comes. */
export function soonest(now: Millis, time: number): Millis | null {
  const first = Math.ceil(time - rounding);
  return first > Number.MAX_SAFE_INTEGER ? null : (Math.max(now, first) as Millis);
}

/**
 * A flight's luck for a purpose: its client's own, whoever else takes part. Item and index have 48 bits each: of the item
 * 32 are the client's, 2 the stage's, 6 the attempt's and 8 the repeat's, and what more a stage needs is above the round.
 */
export function luckOf(rng: Rng, purpose: string, { client, key, repeat, round }: Flight, attempt = 0): Draws {
  const item = client + 2 ** 32 * ((key & 3) + 4 * ((attempt & 63) + 64 * (repeat & 255)));
  return rng.at(purpose, key < 4 ? round : round + 2 ** 40 * (key >> 2)).at(item);
}

/** Brings `done` up to `now`. Once all work is done, `since` stays at the instant when it was. */
export function settle(flight: Flight, now: number): void {
  const { rate, since } = flight;
  if (now <= since) return;
  const left = flight.stopAt - flight.done;
  const gained = (now - since) * rate;
  if (gained < left) {
    flight.done += gained;
    flight.since = now;
  } else {
    flight.done = flight.stopAt;
    if (rate > 0) flight.since = since + left / rate;
  }
}

/** All flights under way. Slots are numbers, so that a kernel event carries nothing else. */
export class FlightTable {
  #slots: (Flight | null)[] = [];
  #free: number[] = [];
  /** Flights that have ended or not begun, to be used again: they come and go by the million, and are large. */
  readonly #spare: Flight[] = [];

  get size(): number {
    return this.#slots.length - this.#free.length;
  }

  /** A flight that is about to begin. Once it is removed from its slot nobody may look at it any more. */
  prepare(order: Order, stage: Stage, repeat: number, total: number, now: number): Flight {
    const flight = this.#take();
    flight.begin(order, stage, repeat, total, now);
    return flight;
  }

  add(flight: Flight): number {
    const slot = this.#free.pop() ?? this.#slots.length;
    this.#slots[slot] = flight;
    return slot;
  }

  get(slot: number): Flight | null {
    return this.#slots[slot] ?? null;
  }

  remove(slot: number): void {
    const flight = this.#slots[slot];
    if (flight != null) this.#spare.push(flight);
    this.#slots[slot] = null;
    this.#free.push(slot);
  }

  /** Slots of the flights for which `matches` holds, ascending. */
  slots(matches: (flight: Flight) => boolean): number[] {
    const found: number[] = [];
    for (const [slot, flight] of this.#slots.entries()) if (flight !== null && matches(flight)) found.push(slot);
    return found;
  }

  /** Clients that are sending, receiving or computing, ascending. */
  clients(): ClientId[] {
    const clients = new Set<ClientId>();
    for (const flight of this.#slots) if (flight !== null && flight.step !== "copy") clients.add(flight.client);
    return [...clients].sort((a, b) => a - b);
  }

  snapshot(): FlightTableState {
    return { slots: this.#slots.map((flight) => flight?.snapshot() ?? null), free: [...this.#free] };
  }

  /** @throws InputError for what no table holds */
  restore({ slots, free }: FlightTableState): void {
    const empty = slots.reduce((count, slot) => count + (slot === null ? 1 : 0), 0);
    if (new Set(free).size !== free.length || free.length !== empty || free.some((slot) => slots[slot] !== null)) {
      throw new InputError("flights.free is not a list of the slots that are empty");
    }
    for (const [slot, flight] of slots.entries()) {
      if (flight === null) continue;
      const { is, key } = stages[flight.stage];
      if (flight.is !== is || flight.key !== key) {
        throw new InputError(
          `flights.slots[${slot}] is "${flight.is}" with key ${flight.key}, expected those of "${flight.stage}"`,
        );
      }
    }
    this.#slots = slots.map((state) => state && Object.assign(this.#take(), state));
    this.#free = [...free];
  }

  #take(): Flight {
    if (this.#spare.length === 0) {
      const floats = new Float64Array(flightsPerStretch * floatsPerFlight);
      for (let at = 0; at < floats.length; at += floatsPerFlight) this.#spare.push(new Flight(floats, at));
    }
    return this.#spare.pop()!;
  }
}

export const flightTableSchema = z.strictObject({ slots: z.array(flightSchema.nullable()), free: z.array(whole) });
type FlightTableState = Readonly<z.output<typeof flightTableSchema>>;
