/**
 * Something under way: a message in the network or a computation on a device.
 *
 * A flight is an amount of work done at a rate. Work is bytes for a message, milliseconds on an undisturbed device for
 * a computation. Where it will stop, and what may cut it off before, is decided when it begins; its rate may change on
 * the way. Each flight waits for exactly one kernel event, its `event`; older events of it that still lie in the queue
 * are recognised by their sequence number and pass without effect.
 */
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";
import type { Millis } from "../base/units.ts";
import type { Condition, Leg, Order, Phase } from "./environment.ts";

export type Step =
  /** All its work is done, or all it will ever do. */
  | "end"
  /** Something takes it away in the middle. */
  | "cut"
  /** It never began. */
  | "refusal"
  /** Its client becomes ineligible, or eligible again, and it waits for that. */
  | "turn"
  /** It should be through its shared link by now, unless that has become slower. */
  | "look"
  /** The copy that was lost in the network is missed and sent again. */
  | "resend"
  /** A second copy of a message that did arrive. */
  | "copy";

/** Changed in place while it is under way; otherwise plain data. */
export interface Flight extends Order {
  readonly leg: Leg | "compute";
  /** Second, third… part of the same client in the same round; keys its luck. */
  readonly repeat: number;
  readonly startedAt: number;
  /** Bytes, or milliseconds of undisturbed work. */
  total: number;
  /** Work per millisecond while nothing disturbs it. */
  pace: number;
  /** Work per millisecond since `since`, by when `done` of it was done. */
  rate: number;
  since: number;
  done: number;
  /** Work at which it stops: `total`, or less if it fails after a share. */
  stopAt: number;
  /** Why it fails at `stopAt`; empty if it does not. */
  stopReason: string;
  /** The instant that takes it away, if it is still under way then. */
  cutAt: number;
  cutReason: string;
  /** Milliseconds between the last byte's departure and its arrival. */
  tail: number;
  /** Copies sent before this one. */
  attempt: number;
  /** What the network does with this copy. */
  fate: Condition | "missing";
  isDoubled: boolean;
  /** Has the present copy been counted as sent? */
  isMetered: boolean;
  /** On a link it shares with others, which then sets its rate. */
  isShared: boolean;
  step: Step;
  /** Sequence number of the kernel event it waits for; −1 while it waits for an effect to end. */
  event: number;
}

function blankFlight(): Flight {
  return {
    ticket: 0,
    client: 0 as ClientId,
    participation: 0 as ParticipationId,
    round: 0 as Round,
    leg: "compute",
    repeat: 0,
    startedAt: 0,
    total: 0,
    pace: 1,
    rate: 0,
    since: 0,
    done: 0,
    stopAt: 0,
    stopReason: "",
    cutAt: Infinity,
    cutReason: "",
    tail: 0,
    attempt: 0,
    fate: "intact",
    isDoubled: false,
    isMetered: false,
    isShared: false,
    step: "end",
    event: -1,
  };
}

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

function begin(
  flight: Writable<Flight>,
  order: Order,
  leg: Flight["leg"],
  repeat: number,
  total: number,
  now: number,
): Flight {
  flight.ticket = order.ticket;
  flight.client = order.client;
  flight.participation = order.participation;
  flight.round = order.round;
  flight.leg = leg;
  flight.repeat = repeat;
  flight.startedAt = now;
  flight.total = total;
  flight.pace = 1;
  flight.rate = 0;
  flight.since = now;
  flight.done = 0;
  flight.stopAt = total;
  flight.stopReason = "";
  flight.cutAt = Infinity;
  flight.cutReason = "";
  flight.tail = 0;
  flight.attempt = 0;
  flight.fate = "intact";
  flight.isDoubled = false;
  flight.isMetered = false;
  flight.isShared = false;
  flight.step = "end";
  flight.event = -1;
  return flight;
}

/** Floating-point sums of durations may miss a whole millisecond by this much. */
const rounding = 1e-6;

/** The first whole millisecond at or after `time`, and not before `now`; null for what never comes. */
export function soonest(now: Millis, time: number): Millis | null {
  const first = Math.ceil(time - rounding);
  return first > Number.MAX_SAFE_INTEGER ? null : (Math.max(now, first) as Millis);
}

export const phaseOf = (flight: Flight): Phase => (flight.leg === "compute" ? "training" : flight.leg);

/** Every item of randomness fits in 48 bits: 32 for the client, 2 for the leg, 6 for the attempt, 8 for the repeat. */
export const itemOf = ({ client, leg, repeat }: Flight, attempt = 0): number =>
  client + 2 ** 32 * (legCodes[leg] + 4 * ((attempt & 63) + 64 * (repeat & 255)));

/** A client's first participation in a round has the client's own number as its item in training. */
const legCodes = { compute: 0, download: 1, upload: 2, acknowledge: 3 } as const;

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
  /** Flights that have ended, to be used again: they come and go by the million, and are large. */
  readonly #spare: Flight[] = [];

  get size(): number {
    return this.#slots.length - this.#free.length;
  }

  /** A flight that is about to begin. Once it is removed from its slot nobody may look at it any more. */
  prepare(order: Order, leg: Flight["leg"], repeat: number, total: number, now: number): Flight {
    return begin(this.#spare.pop() ?? blankFlight(), order, leg, repeat, total, now);
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
    return { slots: this.#slots.map((flight) => flight && { ...flight }), free: [...this.#free] };
  }

  restore({ slots, free }: FlightTableState): void {
    this.#slots = slots.map((flight) => flight && { ...flight });
    this.#free = [...free];
  }
}

export interface FlightTableState {
  readonly slots: readonly (Flight | null)[];
  readonly free: readonly number[];
}
