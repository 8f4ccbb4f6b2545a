/** The shape of the simulated world in a scenario. What its numbers may be is checked by `sim/`. */
import { z } from "zod";
import { longestTime } from "../base/units.ts";
import type { AvailabilitySpec } from "../sim/availability/availability.ts";
import type { FaultSpec } from "../sim/flight/faults.ts";
import type { NetworkSpec } from "../sim/network/network.ts";
import type { Effect, SimulatedWorld } from "../sim/script/effects.ts";
import type { TimelineEntry } from "../sim/script/timeline.ts";
import type { WorldSpec } from "../sim/world-spec.ts";
import { lawSchema, ownFunction } from "./fleet-schema.ts";

const number = z.number();
const optional = number.exactOptional();
/** Virtual milliseconds. */
const time = z.int().min(-longestTime).max(longestTime);

const networkSchema = z.strictObject({
  taskVariation: z.strictObject({ down: number, up: number }).exactOptional(),
  sharedUplink: optional,
  sharedDownlink: optional,
  loss: optional,
  duplication: optional,
  corruption: optional,
  reordering: z.strictObject({ probability: number, maxDelay: time }).exactOptional(),
  retry: z.strictObject({ timeout: time, attempts: z.int() }).exactOptional(),
}) as unknown as z.ZodType<NetworkSpec, NetworkSpec>;

const timeZones = z.union([z.strictObject({ byRegion: z.record(z.string(), time) }), z.strictObject({ spread: time })]);
const diurnal = { amplitude: number, peakAt: time, timeZones: timeZones.exactOptional() };
const spread = z.strictObject({ mean: time, sd: time });
const charging = {
  plugAt: spread.exactOptional(),
  length: spread.exactOptional(),
  dayCharges: z.strictObject({ perDay: number, meanLength: time }).exactOptional(),
  wifi: optional,
  timeZones: timeZones.exactOptional(),
};

const availabilitySchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("always") }),
  z.strictObject({ type: z.literal("bernoulli"), probability: number, slot: time }),
  z.strictObject({
    type: z.literal("two-state"),
    onShare: number,
    meanOn: time,
    diurnal: z.strictObject(diurnal).exactOptional(),
  }),
  z.strictObject({ type: z.literal("diurnal"), share: number, slot: time, ...diurnal }),
  z.strictObject({ type: z.literal("charging"), ...charging }),
  z.strictObject({
    type: z.literal("data"),
    rule: z.enum(["HOMO", "LN", "SLN", "YMF", "YFF", "YC", "MDF", "LDF"]),
    beta: number,
    slot: time,
    period: optional,
  }),
  z.strictObject({
    type: z.literal("trace"),
    period: time,
    devices: z.array(z.array(z.tuple([number, number]))),
    assignment: z.enum(["cycle", "random"]),
  }),
]) as unknown as z.ZodType<AvailabilitySpec, AvailabilitySpec>;

const faultsSchema = z.strictObject({
  beforeDownload: optional,
  download: optional,
  training: optional,
  upload: optional,
  acknowledge: optional,
  crash: optional,
  corruptedUpdate: optional,
  hazardPerHour: optional,
  roundRate: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("beta"), mean: number, correlation: number }),
      z.strictObject({ type: z.literal("exponential"), rate: number }),
    ])
    .exactOptional(),
  shocks: z.strictObject({ probability: number, severity: number }).exactOptional(),
  swizzle: z.strictObject({ window: time, share: number, probability: number }).exactOptional(),
}) as unknown as z.ZodType<FaultSpec, FaultSpec>;

const target = z.union([z.string(), z.strictObject({ clients: z.array(z.int()) })]);
const lasting = { duration: time.exactOptional() };
const effectSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("outage"), target, ...lasting }),
  z.strictObject({ type: z.literal("partition"), target, ...lasting }),
  z.strictObject({ type: z.literal("slowdown"), target, factor: number, ...lasting }),
  z.strictObject({ type: z.literal("bandwidth"), target, factor: number, ...lasting }),
  z.strictObject({ type: z.literal("server-restart"), ...lasting }),
  z.strictObject({ type: z.literal("dropout"), target, probability: number, ...lasting }),
  z.strictObject({ type: z.literal("message-loss"), probability: number, ...lasting }),
  z.strictObject({ type: z.literal("crash"), target }),
  z.strictObject({ type: z.literal("hook"), run: ownFunction<(sim: SimulatedWorld) => void>() }),
]) as unknown as z.ZodType<Effect, Effect>;

const timelineSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("at"), at: time, effect: effectSchema }),
  z.strictObject({ type: z.literal("between"), from: time, until: time, effect: effectSchema }),
  z.strictObject({
    type: z.literal("every"),
    period: time,
    from: time,
    until: time.exactOptional(),
    effect: effectSchema,
  }),
]) as unknown as z.ZodType<TimelineEntry, TimelineEntry>;

export const worldSchema = z.strictObject({
  network: networkSchema.prefault({}),
  compute: z.strictObject({ noise: lawSchema.exactOptional(), duration: lawSchema.exactOptional() }).prefault({}),
  /** A client is eligible when all models say so. */
  availability: z.array(availabilitySchema).default([]),
  onIneligible: z.enum(["abort", "abort-at-end-check", "pause"]).default("abort"),
  faults: faultsSchema.prefault({}),
  timeline: z.array(timelineSchema).default([]),
  churn: z
    .strictObject({ presentAtStart: optional, meanWait: time.exactOptional(), meanStay: time.exactOptional() })
    .exactOptional(),
  battery: z
    .strictObject({
      capacityWattHours: optional,
      computeWatts: optional,
      radioWatts: optional,
      minimumLevel: optional,
      idlePerHour: optional,
      chargePerHour: optional,
      charging: z.strictObject(charging).exactOptional(),
    })
    .exactOptional(),
});

export const toWorldSpec = (world: z.output<typeof worldSchema>): WorldSpec => world as unknown as WorldSpec;
