/**
 * When a client may take part.
 *
 * Every model answers for any client and any instant, in any order, with the same answer: chance is keyed by client and
 * stretch of time, and no cursor moves. Models can be combined; a client is then eligible when all of them say so.
 */

import { unreachable } from "../../base/errors.ts";
import type { ClientId } from "../../base/ids.ts";
import { checkPositive, checkProbability, type Problem, problem } from "../../base/problem.ts";
import type { Rng } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { Fleet, FleetNames } from "../fleet/fleet.ts";
import { checkDataRule, type DataRule, type DataTraits, dataProbability } from "./availability-data.ts";
import {
  checkDiurnal,
  checkTwoState,
  type DiurnalSpec,
  dailyShare,
  localShift,
  Slotted,
  TwoState,
  type TwoStateSpec,
} from "./availability-random.ts";
import { isRare, RareTwoState } from "./availability-rare.ts";
import {
  type ChargingSpec,
  ChargingWindows,
  checkCharging,
  checkTrace,
  type TraceSpec,
  Traces,
} from "./availability-windows.ts";

/** What becomes of work under way when its client stops being eligible. */
export type OnIneligible =
  /** It is lost at that instant: Google's system. */
  | "abort"
  /** It is lost at its end if the client is not eligible then; what happened between does not matter: FedScale. */
  | "abort-at-end-check"
  /** It waits and goes on when the client is back: FLASH. */
  | "pause";

export type AvailabilitySpec =
  | { readonly type: "always" }
  /** Each slot of time, each client is eligible with the same probability. */
  | { readonly type: "bernoulli"; readonly probability: number; readonly slot: Millis }
  | TwoStateSpec
  /** Each slot of time a client is eligible with the share of its local time of day. */
  | ({
      readonly type: "diurnal" /** Mean share over the day. */;
      readonly share: number;
      readonly slot: Millis;
    } & DiurnalSpec)
  | ChargingSpec
  | DataRule
  | TraceSpec;

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

export function checkAvailability(
  path: string,
  spec: AvailabilitySpec,
  fleet: FleetNames,
  traits?: DataTraits,
): Problem[] {
  switch (spec.type) {
    case "always":
      return [];
    case "bernoulli":
      return [
        ...checkProbability(`${path}.probability`, spec.probability),
        ...checkPositive(`${path}.slot`, spec.slot),
      ];
    case "two-state":
      return checkTwoState(path, spec, fleet);
    case "diurnal":
      return [
        ...checkProbability(`${path}.share`, spec.share),
        ...checkPositive(`${path}.slot`, spec.slot),
        ...checkDiurnal(path, spec, spec.share, fleet),
      ];
    case "charging":
      return checkCharging(path, spec, fleet);
    case "data":
      return checkDataRule(path, spec, traits);
    case "trace":
      return checkTrace(path, spec);
    default:
      return [problem(path, "an availability model", spec)];
  }
}
