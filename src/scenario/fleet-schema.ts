/** The shape of a fleet in a scenario. What its numbers may be is checked by `sim/`, which knows what they mean. */
import { z } from "zod";
import type { DeviceTrace, TierSpec } from "../sim/fleet/devices.ts";
import type { Law } from "../sim/fleet/laws.ts";
import type { LinkLaw } from "../sim/fleet/links.ts";
import type { SpeedLaw } from "../sim/fleet/speed-laws.ts";

const number = z.number();
const count = z.int().min(1);

/** A function of the scenario's author. A scenario.json cannot carry it. */
export const ownFunction = <F extends (...args: never[]) => unknown>() =>
  z.custom<F>((value) => typeof value === "function", "expected a function");

export const lawSchema: z.ZodType<Law, Law> = z.union([
  number,
  z.strictObject({ type: z.literal("uniform"), min: number, max: number }),
  z.strictObject({ type: z.literal("normal"), mean: number, sd: number }),
  z.strictObject({ type: z.literal("log-normal"), median: number, sigma: number }),
  z.strictObject({ type: z.literal("log-normal"), mean: number, cv: number }),
  z.strictObject({ type: z.literal("exponential"), mean: number, minimum: number.exactOptional() }),
  z.strictObject({ type: z.literal("half-normal"), sd: number, minimum: number.exactOptional() }),
  z.strictObject({ type: z.literal("pareto"), minimum: number, alpha: number }),
  z.strictObject({ type: z.literal("weibull"), scale: number, shape: number }),
  z.strictObject({ type: z.literal("gamma"), scale: number, shape: number }),
]);

const speedSchema: z.ZodType<SpeedLaw, SpeedLaw> = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("tokens-per-second"), law: lawSchema }),
  z.strictObject({ type: z.literal("seconds-per-token"), law: lawSchema }),
  z.strictObject({ type: z.literal("flops"), flops: lawSchema, utilisation: number }),
  z.strictObject({ type: z.literal("zipf"), fastest: number, exponent: number }),
  z.strictObject({ type: z.literal("pareto"), fastest: number, alpha: number }),
  z.strictObject({
    type: z.literal("classes"),
    tokensPerBatch: number,
    classes: z.array(z.strictObject({ name: z.string(), share: number, mean: number, sd: number })).min(1),
  }),
  z.strictObject({ type: z.literal("trace") }),
  z.strictObject({
    type: z.literal("function"),
    of: ownFunction<Extract<SpeedLaw, { type: "function" }>["of"]>(),
  }),
]);

const spreadRate = z.strictObject({ median: number, sigma: number });
const linkSchema: z.ZodType<LinkLaw, LinkLaw> = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("rates"), down: lawSchema, up: lawSchema }),
  z.strictObject({ type: z.literal("log-normal"), down: spreadRate, up: spreadRate, correlation: number }),
  z.strictObject({ type: z.literal("trace") }),
  z.strictObject({ type: z.literal("function"), of: ownFunction<Extract<LinkLaw, { type: "function" }>["of"]>() }),
]);

type GivenTrace = Omit<DeviceTrace, "assignment"> & Partial<Pick<DeviceTrace, "assignment">>;
const traceSchema: z.ZodType<DeviceTrace, GivenTrace> = z.strictObject({
  records: z
    .array(
      z.strictObject({
        tokensPerSecond: number.exactOptional(),
        downlink: number.exactOptional(),
        uplink: number.exactOptional(),
      }),
    )
    .min(1),
  assignment: z.enum(["cycle", "random"]).default("cycle"),
}) as unknown as z.ZodType<DeviceTrace, GivenTrace>;

export const tierSchema = z
  .strictObject({
    name: z.string().min(1),
    clients: count,
    /** Experts per token, k_i; or the largest of `allowed` with which a round fits the deadline. */
    topK: z.union([
      z.int().min(1).max(255),
      z.strictObject({ type: z.literal("deadline"), deadline: number, allowed: z.array(count).min(1) }),
    ]),
    /** Training speed at the tier's own budget: one number, or a law that each device draws from once. */
    tokensPerSecond: lawSchema.exactOptional(),
    /** Any other law of speed, instead of `tokensPerSecond`. */
    speed: speedSchema.exactOptional(),
    /** Experts per token at which the speed is quoted, when it is not the tier's own budget. */
    speedAtTopK: count.exactOptional(),
    /** Bytes per second; see `megabits`. The downlink is five times the uplink unless given. */
    uplink: lawSchema.exactOptional(),
    downlink: lawSchema.exactOptional(),
    /** Any other law of links, instead of `uplink` and `downlink`. */
    link: linkSchema.exactOptional(),
    /** One-way, in milliseconds. */
    latency: lawSchema.exactOptional(),
    memory: z.strictObject({ available: lawSchema, fixed: number, perExpert: number }).exactOptional(),
    region: z.string().exactOptional(),
    /** Probability of dropping out of a round during training. */
    dropout: number.exactOptional(),
    trace: traceSchema.exactOptional(),
  })
  .refine(({ tokensPerSecond, speed }) => (tokensPerSecond === undefined) !== (speed === undefined), {
    message: "expected either tokensPerSecond or speed",
  })
  .refine(
    ({ link, uplink, downlink }) =>
      link === undefined ? uplink !== undefined : uplink === undefined && downlink === undefined,
    { message: "expected either link, or uplink with or without downlink" },
  );

export type TierData = z.output<typeof tierSchema>;

export const fleetSchema = z.array(tierSchema).min(1);

export const regionsSchema = z.array(z.strictObject({ name: z.string().min(1), share: number })).min(1);

/** How much faster a downlink is than an uplink of which nothing else is known. */
const downlinkFactor = 5;

/** The tier as `sim/` wants it. */
export function toTierSpec(tier: TierData): TierSpec {
  const { tokensPerSecond, speed, uplink, downlink, link, topK, ...rest } = tier;
  return {
    ...(rest as Omit<TierSpec, "topK" | "speed" | "link">),
    topK: topK as TierSpec["topK"],
    speed: speed ?? { type: "tokens-per-second", law: tokensPerSecond! },
    link: link ?? { type: "rates", down: downlink ?? faster(uplink!), up: uplink! },
  };
}

/** The law of a quantity that is always `downlinkFactor` times larger. */
function faster(law: Law): Law {
  if (typeof law === "number") return law * downlinkFactor;
  const scaled: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(law)) {
    scaled[key] = typeof value === "number" && !shapeParameters.has(key) ? value * downlinkFactor : value;
  }
  return scaled as Law;
}

/** Parameters that a change of unit leaves alone. */
const shapeParameters = new Set(["sigma", "cv", "alpha", "shape"]);
