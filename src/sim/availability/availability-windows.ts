/**
 * Availability in windows of time: recorded ones, repeated with a period, and nights on the charger.
 */
import * as z from "zod";
import { duration, instant, notNegative, probability, shift } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { localShift, timeZonesSchema } from "./availability-random.ts";

/** From start to before end. */
const windowSchema = z.tuple([z.number(), z.number()]).readonly();

/** Recorded windows. Time is folded: what was at t is again at t + period. */
export const traceSchema = z
  .strictObject({
    type: z.literal("trace"),
    period: z
      .union([duration, z.array(duration).min(1).readonly()])
      .describe("milliseconds after which windows repeat themselves, for all devices or one for each of them"),
    devices: z
      .array(z.array(windowSchema).readonly())
      .min(1)
      .readonly()
      .describe("per recorded device its windows, ascending and apart, within [0, period]"),
    assignment: z
      .enum(["cycle", "random"])
      .describe(
        "`cycle`: client i follows record i modulo their number. `random`: a random record, started at a random time",
      ),
  })
  .describe("recorded windows, which repeat themselves")
  .superRefine(({ devices, period }, ctx) => {
    if (typeof period !== "number" && period.length !== devices.length) {
      ctx.addIssue({ code: "custom", path: ["period"], message: `one for each of ${devices.length} devices` });
      return;
    }
    for (const [device, windows] of devices.entries()) {
      for (const [i, message] of wrongWindows(windows, periodOf(period, device))) {
        ctx.addIssue({ code: "custom", path: ["devices", device, i], message });
      }
    }
  });

type Recorded = Readonly<z.output<typeof windowSchema>>;

/** Windows that cannot follow those before them, each with what was expected of it. */
export function* wrongWindows(windows: readonly Recorded[], period: number): Generator<[at: number, expected: string]> {
  let before = 0;
  for (const [at, [start, end]] of windows.entries()) {
    if (start < before) yield [at, `a start of at least ${before}, where the window before ends`];
    if (end <= start) yield [at, "an end after its start"];
    if (end > period) yield [at, `an end within the period, ${period}`];
    before = end;
  }
}

export const periodOf = (period: number | readonly number[], device: number): number =>
  typeof period === "number" ? period : period[device]!;

export type TraceSpec = Readonly<z.output<typeof traceSchema>>;

export class Traces {
  /** One for all records, or one for each. */
  readonly #periods: number | readonly number[];
  /** Starts and ends of all records, one after the other. */
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  /** Record r has windows `#first[r]` to `#first[r + 1]`. */
  readonly #first: Uint32Array;
  readonly #random: ((client: ClientId) => Draws) | null;
  #record = 0;
  #offset = 0;

  constructor({ period, devices, assignment }: TraceSpec, rng: Rng, purpose: string) {
    this.#periods = period;
    const windows = devices.flat();
    this.#starts = Float64Array.from(windows, ([start]) => start);
    this.#ends = Float64Array.from(windows, ([, end]) => end);
    this.#first = new Uint32Array(devices.length + 1);
    for (const [record, own] of devices.entries()) this.#first[record + 1] = this.#first[record]! + own.length;
    const lane = rng.at(`${purpose} record`);
    this.#random = assignment === "random" ? (client) => lane.at(client) : null;
  }

  isOn(client: ClientId, time: number): boolean {
    this.#assign(client);
    const folded = this.#fold(time);
    const window = this.#windowBefore(folded);
    return window >= this.#first[this.#record]! && folded < this.#ends[window]!;
  }

  onUntil(client: ClientId, time: number): number {
    if (!this.isOn(client, time)) return time;
    const first = this.#first[this.#record]!;
    const last = this.#first[this.#record + 1]! - 1;
    const folded = this.#fold(time);
    let window = this.#windowBefore(folded);
    let until = time - folded + this.#ends[window]!;
    // A window may touch the next one, also across the end of the period.
    for (let steps = 0; steps <= last - first; steps++) {
      const isLast = window === last;
      const next = isLast ? first : window + 1;
      const gap = this.#starts[next]! + (isLast ? this.#period : 0) - this.#ends[window]!;
      if (gap > 0) return until;
      window = next;
      until += this.#ends[window]! - this.#starts[window]!;
    }
    return Infinity;
  }

  onFrom(client: ClientId, time: number): number {
    if (this.isOn(client, time)) return time;
    const first = this.#first[this.#record]!;
    const end = this.#first[this.#record + 1]!;
    if (first === end) return Infinity;
    const folded = this.#fold(time);
    const next = Math.max(first, this.#windowBefore(folded) + 1);
    return time - folded + (next < end ? this.#starts[next]! : this.#period + this.#starts[first]!);
  }

  #assign(client: ClientId): void {
    const records = this.#first.length - 1;
    if (this.#random === null) {
      this.#record = client % records;
      return;
    }
    const draws = this.#random(client);
    this.#record = draws.below(records);
    this.#offset = Math.floor(draws.uniform() * this.#period);
  }

  /** Of the record that is assigned. */
  get #period(): number {
    return periodOf(this.#periods, this.#record);
  }

  #fold(time: number): number {
    return (time + this.#offset) % this.#period;
  }

  /** The record's last window that starts at or before `folded`; one before its first if there is none. */
  #windowBefore(folded: number): number {
    let low = this.#first[this.#record]!;
    let high = this.#first[this.#record + 1]!;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= folded) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

const sd = instant.describe("standard deviation, in milliseconds");

/**
 * Plugged in at night and for short whiles by day, and eligible on WiFi. The default numbers are placeholders without a
 * source; replace them by a trace where there is one.
 */
export const chargingFields = {
  plugAt: z
    .strictObject({ mean: shift.describe("milliseconds from midnight"), sd })
    .exactOptional()
    .describe("local time of day of plugging in, normal; 22:30 ± 1.5 h"),
  length: z
    .strictObject({ mean: duration.describe("milliseconds"), sd })
    .exactOptional()
    .describe("how long the night's charge lasts, normal, cut to [0.5 h, 12 h]; 7 h ± 1.5 h"),
  dayCharges: z
    .strictObject({
      perDay: notNegative.max(1_440).describe("mean number of them"),
      meanLength: duration.describe("milliseconds"),
    })
    .exactOptional()
    .describe(
      "short charges between 8:00 and 20:00: how many a day (Poisson, 0.5) and their mean length (exponential, 30 min)",
    ),
  wifi: probability.exactOptional().describe("probability that a charge happens where there is WiFi; 0.8"),
  timeZones: timeZonesSchema.exactOptional().describe("how clocks of clients differ; not at all unless given"),
};

export const chargingSchema = z
  .strictObject({ type: z.literal("charging"), ...chargingFields })
  .describe("on the charger and on WiFi");

export type ChargingSpec = Readonly<z.output<typeof chargingSchema>>;

const hour = 3_600_000;
const day = 24 * hour;
/** Days searched for a charge before it is said never to come. */
const horizonDays = 400;

interface Window {
  readonly start: number;
  readonly end: number;
}

export class ChargingWindows {
  readonly #spec: Required<Omit<ChargingSpec, "type" | "timeZones">>;
  readonly #rng: Rng;
  readonly #purpose: string;
  readonly #shift: (client: ClientId) => number;

  constructor(spec: ChargingSpec, fleet: Fleet, rng: Rng, purpose: string) {
    this.#rng = rng;
    this.#purpose = purpose;
    this.#shift = localShift(spec.timeZones, fleet, rng);
    this.#spec = {
      plugAt: spec.plugAt ?? { mean: (22.5 * hour) as Millis, sd: (1.5 * hour) as Millis },
      length: spec.length ?? { mean: (7 * hour) as Millis, sd: (1.5 * hour) as Millis },
      dayCharges: spec.dayCharges ?? { perDay: 0.5, meanLength: (0.5 * hour) as Millis },
      wifi: spec.wifi ?? 0.8,
    };
  }

  isOn(client: ClientId, time: number): boolean {
    return this.onFrom(client, time) === time;
  }

  onUntil(client: ClientId, time: number): number {
    let until = time;
    for (let searched = 0; searched < horizonDays; searched++) {
      const before = until;
      for (const { start, end } of this.#windowsAround(client, until)) {
        if (start <= until && end > until) until = end;
      }
      if (until === before) return until;
    }
    return Infinity;
  }

  onFrom(client: ClientId, time: number): number {
    for (let searched = 0; searched < horizonDays; searched++) {
      let first = Infinity;
      for (const { start, end } of this.#windowsAround(client, time + searched * day)) {
        if (end > time) first = Math.min(first, Math.max(start, time));
      }
      // Windows of days not yet looked at start later, since those of one day all start between 8:00 and 8:00.
      if (first < Infinity) return first;
    }
    return Infinity;
  }

  /** All windows that may touch the day of `time`, in the simulation's clock. */
  #windowsAround(client: ClientId, time: number): Window[] {
    const shift = this.#shift(client);
    const today = Math.floor((time + shift) / day);
    const windows: Window[] = [];
    for (let date = today - 2; date <= today + 1; date++) this.#addDay(client, date, shift, windows);
    return windows;
  }

  #addDay(client: ClientId, date: number, shift: number, windows: Window[]): void {
    const { plugAt, length, dayCharges, wifi } = this.#spec;
    // Clocks may be days behind the simulation's; the randomness counts from 0.
    const draws = this.#rng.at(this.#purpose, date + 8).at(client);
    const midnight = date * day - shift;
    const add = (start: number, duration: number) => {
      if (draws.bernoulli(wifi)) windows.push({ start, end: start + duration });
    };
    const plugged = midnight + clip(plugAt.mean + plugAt.sd * draws.normal(), day / 3, (4 / 3) * day);
    add(plugged, clip(length.mean + length.sd * draws.normal(), hour / 2, 12 * hour));
    for (let left = draws.poisson(dayCharges.perDay); left > 0; left--) {
      const start = midnight + (8 + 12 * draws.uniform()) * hour;
      add(start, Math.min(draws.exponential(dayCharges.meanLength), 4 * hour));
    }
  }
}

const clip = (value: number, least: number, most: number) => Math.max(least, Math.min(most, value));
