/**
 * When a client may take part.
 *
 * Every model answers for any client and any instant, in any order, with the same answer: chance is keyed by client and
 * stretch of time, and no cursor moves. Models can be combined; a client is then eligible when all of them say so.
 */
import * as z from "zod";
import { unreachable } from "../../base/errors.ts";
import { duration, probability } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import { expected, type Problem } from "../../base/problem.ts";
import type { Rng } from "../../base/random.ts";
import type { Fleet, FleetNames } from "../fleet/fleet.ts";
import { type DataTraits, dataProbability, dataRuleSchema, needsLabels } from "./availability-data.ts";
import {
  checkZones,
  dailyShare,
  diurnalSchema,
  localShift,
  Slotted,
  TwoState,
  twoStateSchema,
} from "./availability-random.ts";
import { isRare, RareTwoState } from "./availability-rare.ts";
import { ChargingWindows, chargingSchema, Traces, traceSchema } from "./availability-windows.ts";

export const availabilitySchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("always") }).describe("everybody, all the time"),
  z
    .strictObject({
      type: z.literal("bernoulli"),
      probability: probability.describe("that a client is eligible in a slot"),
      slot: duration.describe("milliseconds after which chance decides anew"),
    })
    .describe("each slot of time, each client is eligible with the same probability"),
  twoStateSchema,
  diurnalSchema,
  chargingSchema,
  dataRuleSchema,
  traceSchema,
]);

export type AvailabilitySpec = Readonly<z.output<typeof availabilitySchema>>;

/** What becomes of work under way when its client stops being eligible. */
export const onIneligibleSchema = z.enum([
  /** It is lost at that instant: Google's system. */
  "abort",
  /** It is lost at its end if the client is not eligible then; what happened between does not matter: FedScale. */
  "abort-at-end-check",
  /** It waits and goes on when the client is back: FLASH. */
  "pause",
]);

export type OnIneligible = z.output<typeof onIneligibleSchema>;

/** Where only the first of several instants matters, `atMost` ends the search: an answer from there on is any such. */
export interface Availability {
  isOn(client: ClientId, time: number): boolean;
  /** First instant from `time` on at which the client is not eligible; Infinity if that never comes. */
  onUntil(client: ClientId, time: number, atMost?: number): number;
  /** First instant from `time` on at which the client is eligible; Infinity if that never comes. */
  onFrom(client: ClientId, time: number, atMost?: number): number;
}

/** Null when every client is always eligible. */
export function availabilityOf(
  specs: readonly AvailabilitySpec[],
  fleet: Fleet,
  rng: Rng,
  traits?: DataTraits,
): Availability | null {
  const models = specs.filter(({ type }) => type !== "always").map((spec, i) => modelOf(spec, fleet, rng, i, traits));
  if (models.length === 0) return null;
  return models.length === 1 ? models[0]! : new All(models);
}

function modelOf(spec: AvailabilitySpec, fleet: Fleet, rng: Rng, index: number, traits?: DataTraits): Availability {
  // Two models of one kind in the same world must not share their luck.
  const purpose = index === 0 ? "availability" : `availability ${index}`;
  switch (spec.type) {
    case "always":
      return new Slotted(() => 1, { slot: 1, fleet, rng, purpose });
    case "bernoulli":
      return new Slotted(() => spec.probability, { slot: spec.slot, fleet, rng, purpose });
    case "two-state":
      return isRare(spec) ? new RareTwoState(spec, fleet, rng, purpose) : new TwoState(spec, fleet, rng, purpose);
    case "diurnal": {
      const shift = localShift(spec.timeZones, fleet, rng);
      return new Slotted((client, slot) => spec.share * dailyShare(spec, (slot + 0.5) * spec.slot + shift(client)), {
        slot: spec.slot,
        fleet,
        rng,
        purpose,
      });
    }
    case "charging":
      return new ChargingWindows(spec, fleet, rng, purpose);
    case "data":
      return new Slotted(dataProbability(spec, fleet, rng, traits), { slot: spec.slot, fleet, rng, purpose });
    case "trace":
      return new Traces(spec, rng, purpose);
    default:
      return unreachable(spec);
  }
}

/** Turns taken by several models before the search for a common instant ends. */
const patience = 10_000;

class All implements Availability {
  readonly #models: readonly Availability[];
  /** Those that look an answer up before those that search for it, which then need not search beyond. */
  readonly #quickestFirst: readonly Availability[];

  constructor(models: readonly Availability[]) {
    const effort = (model: Availability) => (model instanceof TwoState ? 2 : model instanceof Slotted ? 1 : 0);
    this.#models = models;
    this.#quickestFirst = models.toSorted((a, b) => effort(a) - effort(b));
  }

  isOn(client: ClientId, time: number): boolean {
    return this.#models.every((model) => model.isOn(client, time));
  }

  onUntil(client: ClientId, time: number, atMost = Infinity): number {
    return this.#quickestFirst.reduce((first, model) => Math.min(first, model.onUntil(client, time, first)), atMost);
  }

  onFrom(client: ClientId, time: number, atMost = Infinity): number {
    for (let turn = 0; turn < patience && time < atMost; turn++) {
      const next = this.#models.reduce((latest, model) => model.onFrom(client, latest, atMost), time);
      if (next === time) return time;
      time = next;
    }
    return Infinity;
  }
}

/** What a model says of regions and labels that there are not. */
export function checkAvailability(
  path: string,
  spec: AvailabilitySpec,
  fleet: FleetNames,
  traits?: DataTraits,
): Problem[] {
  switch (spec.type) {
    case "diurnal":
    case "charging":
      return checkZones(`${path}.timeZones`, spec.timeZones, fleet);
    case "two-state":
      return checkZones(`${path}.diurnal.timeZones`, spec.diurnal?.timeZones, fleet);
    case "data":
      if (traits !== undefined || !needsLabels(spec)) return [];
      return [expected(`${path}.rule`, "a rule that needs no labels, since the data has none", spec.rule)];
    default:
      return [];
  }
}
