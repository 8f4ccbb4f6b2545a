/**
 * Batteries: charged in windows of time, drained by idling and by work.
 *
 *   E ← clip(E − (P_c·T_comp + P_r·T_radio) ÷ capacity − idle·dt + charge·dt·[plugged], 0, 1)
 *
 * A client is eligible while plugged or at `minimumLevel` and above; work is cut off when the level reaches 0. Levels
 * are written down at midnights and at the ends of tasks only, so asking for one changes nothing. The default numbers
 * are placeholders without a source.
 */
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { doubles, notNegative, positive } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import type { Rng } from "../../base/random.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { type Stage, stages } from "../flight/stages.ts";
import { ChargingWindows, chargingFields } from "./availability-windows.ts";

const level = "a level in [0, 1)";

export const batterySchema = z.strictObject({
  capacityWattHours: positive.exactOptional().describe("energy of a full battery, in watt hours; 15"),
  computeWatts: notNegative.exactOptional().describe("power while training, in watts; 3"),
  radioWatts: notNegative.exactOptional().describe("power while sending or receiving, in watts; 1"),
  minimumLevel: z
    .number()
    .min(0, level)
    .lt(1, level)
    .exactOptional()
    .describe("level from which an unplugged client is eligible; 0.3"),
  idlePerHour: notNegative.exactOptional().describe("levels lost per idle hour; 0.01"),
  chargePerHour: positive.exactOptional().describe("levels gained per hour on the charger; 0.5"),
  charging: z
    .strictObject(chargingFields)
    .exactOptional()
    .describe("when clients are on the charger; at night and for short whiles by day unless given"),
});

export type BatterySpec = Readonly<z.output<typeof batterySchema>>;

export const batteryStateSchema = z.strictObject({ levels: doubles, times: doubles });
export type BatteryState = Readonly<z.output<typeof batteryStateSchema>>;

const hour = 3_600_000;
const day = 24 * hour;

export class Batteries {
  readonly #plugged: ChargingWindows;
  readonly #minimum: number;
  /** All per millisecond, in levels. */
  readonly #idle: number;
  readonly #charge: number;
  readonly #compute: number;
  readonly #radio: number;
  readonly #rng: Rng;
  /** Level at the time beside it; NaN until the client is first looked at. */
  #levels: Float64Array;
  #times: Float64Array;

  constructor(spec: BatterySpec, fleet: Fleet, rng: Rng) {
    const capacity = (spec.capacityWattHours ?? 15) * hour;
    this.#plugged = new ChargingWindows({ type: "charging", wifi: 1, ...spec.charging }, fleet, rng, "plugged in");
    this.#minimum = spec.minimumLevel ?? 0.3;
    this.#idle = (spec.idlePerHour ?? 0.01) / hour;
    this.#charge = (spec.chargePerHour ?? 0.5) / hour;
    this.#compute = (spec.computeWatts ?? 3) / capacity;
    this.#radio = (spec.radioWatts ?? 1) / capacity;
    this.#rng = rng;
    this.#levels = new Float64Array(fleet.size).fill(NaN);
    this.#times = new Float64Array(fleet.size);
  }

  isEligible(client: ClientId, time: number): boolean {
    return this.#plugged.isOn(client, time) || this.level(client, time) >= this.#minimum;
  }

  /** First instant from `time` on, which may be yet to come, at which the client, left alone, is eligible. */
  eligibleFrom(client: ClientId, time: number, now: number): number {
    return this.level(client, time, now) >= this.#minimum ? time : this.#plugged.onFrom(client, time);
  }

  /** In [0, 1]; at a time after `now`, of a client left alone until then. */
  level(client: ClientId, time: number, now = time): number {
    if (Number.isNaN(this.#levels[client]!)) {
      this.#levels[client] = 0.3 + 0.7 * this.#rng.at("battery").at(client).uniform();
    }
    let level = this.#levels[client]!;
    let from = this.#times[client]!;
    for (let midnight = midnightAfter(from); midnight <= time; midnight = midnightAfter(from)) {
      level = this.#idleUntil(client, level, from, midnight);
      from = midnight;
      if (midnight > now) continue;
      this.#levels[client] = level;
      this.#times[client] = midnight;
    }
    return this.#idleUntil(client, level, from, time);
  }

  /** When work that begins now would empty the battery. */
  emptyAt(client: ClientId, stage: Stage, now: number): number {
    const drain = this.#idle + this.#drain(stage);
    let level = this.level(client, now);
    // A battery that outlasts this many changes of the charger outlasts any task.
    for (let time = now, changes = 0; changes < 16; changes++) {
      const isPlugged = this.#plugged.isOn(client, time);
      const next = isPlugged ? this.#plugged.onUntil(client, time) : this.#plugged.onFrom(client, time);
      const loss = isPlugged ? drain - this.#charge : drain;
      if (loss > 0 && level <= loss * (next - time)) return time + level / loss;
      level = Math.min(1, level - loss * (next - time));
      time = next;
    }
    return Infinity;
  }

  /** Takes what `duration` milliseconds of work up to `now` have used. @returns levels used */
  debit(client: ClientId, stage: Stage, now: number, duration: number): void {
    const level = this.level(client, now) - this.#drain(stage) * duration;
    this.#levels[client] = Math.max(0, level);
    this.#times[client] = now;
  }

  snapshot(): BatteryState {
    return { levels: this.#levels.slice(), times: this.#times.slice() };
  }

  /** @throws InputError for levels that no battery has, and times that are not past */
  restore({ levels, times }: BatteryState, now: number): void {
    for (const [name, column, most] of [
      ["levels", levels, 1],
      ["times", times, now],
    ] as const) {
      const wrong = column.findIndex((value) => value < 0 || value > most);
      if (column.length !== this.#levels.length || wrong >= 0) {
        const found = wrong < 0 ? `${column.length} values` : `${column[wrong]}`;
        throw new InputError(
          `batteries.${name} has ${found}, expected one in [0, ${most}] for each of ${this.#levels.length} clients`,
        );
      }
    }
    this.#levels = levels.slice();
    this.#times = times.slice();
  }

  #drain(stage: Stage): number {
    return stages[stage].is === "work" ? this.#compute : this.#radio;
  }

  #idleUntil(client: ClientId, level: number, from: number, until: number): number {
    let time = from;
    while (time < until) {
      const isPlugged = this.#plugged.isOn(client, time);
      const change = isPlugged ? this.#plugged.onUntil(client, time) : this.#plugged.onFrom(client, time);
      const next = Math.min(until, change);
      const gain = (isPlugged ? this.#charge : 0) - this.#idle;
      level = Math.max(0, Math.min(1, level + gain * (next - time)));
      time = next;
    }
    return level;
  }
}

const midnightAfter = (time: number): number => (Math.floor(time / day) + 1) * day;
