/** Everything about the simulated world that is not a device: the part of a scenario this room understands. */
import * as z from "zod";
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
  network: networkSchema.prefault({}).describe("what becomes of messages besides latency and bytes ÷ rate"),
  compute: computeSchema.prefault({}).describe("what makes two tasks on one device differ"),
  availability: z
    .array(availabilitySchema)
    .readonly()
    .default([])
    .describe("when clients can take part: when all of these models say so; always, if there is none"),
  onIneligible: onIneligibleSchema
    .default("abort")
    .describe(
      "what becomes of work under way when its client stops being eligible: it is lost at once (Google's system), lost at its end if the client is not eligible then (FedScale), or waits (FLASH)",
    ),
  faults: faultsSchema.prefault({}).describe("how participations fail by chance; the first fault to strike counts"),
  timeline: z
    .array(timelineEntrySchema)
    .max(100_000)
    .readonly()
    .default([])
    .describe("what is done to the world at given times: `at`, `between` or `every` so often"),
  churn: churnSchema.exactOptional().describe("clients that join late and leave for good; nobody does unless given"),
  battery: batterySchema
    .exactOptional()
    .describe("levels that work drains and chargers fill; unless given, nothing runs out"),
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
