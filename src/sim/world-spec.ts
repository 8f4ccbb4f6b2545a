/** Everything about the simulated world that is not a device: the part of a scenario this room understands. */
import { z } from "zod";
import type { Problem } from "../base/problem.ts";
import { availabilitySchema, checkAvailability, onIneligibleSchema } from "./availability/availability.ts";
import type { DataTraits } from "./availability/availability-data.ts";
import { checkZones } from "./availability/availability-random.ts";
import { batterySchema } from "./availability/battery.ts";
import { churnSchema } from "./availability/churn.ts";
import type { FleetNames } from "./fleet/fleet.ts";
import { faultsSchema } from "./flight/faults.ts";
import { computeSchema } from "./flight/tasks.ts";
import { networkSchema } from "./network/network.ts";
import { checkTarget } from "./script/effects.ts";
import { timelineEntrySchema } from "./script/timeline.ts";

/**
 * By default messages take latency and bytes ÷ rate, devices their own time, everybody is always there and nothing
 * fails.
 */
export const worldSchema = z.strictObject({
  network: networkSchema.prefault({}),
  compute: computeSchema.prefault({}),
  /** A client is eligible when all models say so; an empty list is always. */
  availability: z.array(availabilitySchema).readonly().default([]),
  onIneligible: onIneligibleSchema.default("abort"),
  faults: faultsSchema.prefault({}),
  /** Longer scripts repeat themselves: see `every`. */
  timeline: z.array(timelineEntrySchema).max(100_000).readonly().default([]),
  churn: churnSchema.exactOptional(),
  battery: batterySchema.exactOptional(),
});

export type WorldSpec = Readonly<z.output<typeof worldSchema>>;

/** @internal */
export const defaultWorldSpec: WorldSpec = worldSchema.parse({});

/** Tiers, regions, clients and labels of which the world speaks and that there are not. */
export const checkWorld = (spec: WorldSpec, fleet: FleetNames, traits?: DataTraits): Problem[] => [
  ...spec.availability.flatMap((model, i) => checkAvailability(`availability[${i}]`, model, fleet, traits)),
  ...spec.timeline.flatMap(({ effect }, i) => checkTarget(`timeline[${i}].effect`, effect, fleet)),
  ...checkZones("battery.charging.timeZones", spec.battery?.charging?.timeZones, fleet),
];
