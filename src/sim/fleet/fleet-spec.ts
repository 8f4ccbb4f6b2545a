/** The tiers of a scenario: what its devices are, before any of them is drawn. */
import * as z from "zod";
import { count, duration, notNegative, positive, probability } from "../../base/fields.ts";
import { expected, type Problem } from "../../base/problem.ts";
import { type Law, lawOrNothing, lawSchema } from "./laws.ts";
import { type LinkLaw, linkSchema } from "./links.ts";
import { type SpeedLaw, speedSchema } from "./speed-laws.ts";

/** 64 bytes each; what is more than this is a slip of the pen. */
const mostClients = 100_000_000;
/** The columns number tiers and regions with 16 bits, and budgets with 8. */
const mostTiers = 2 ** 16;
const budget = z.int().min(1).max(255);

/** k_i = the largest allowed k whose expected round (download, training, upload) fits the deadline. */
const deadlineBudget = z
  .strictObject({
    type: z.literal("deadline"),
    deadline: duration.describe("milliseconds in which a device is to finish a round: download, training, upload"),
    allowed: z.array(budget).min(1).readonly().describe("budgets to choose from; the largest that fits is taken"),
  })
  .describe("the largest allowed budget whose expected round fits the deadline");

/** k_i is at most the largest k with `fixed + perExpert · k ≤ available`, all in bytes. */
const memorySchema = z
  .strictObject({
    available: lawSchema.describe("bytes a device has for training"),
    fixed: notNegative.describe("bytes of them that are needed whatever the budget"),
    perExpert: positive.describe("bytes that an expert per token takes besides"),
  })
  .superRefine(({ available, fixed, perExpert }, ctx) => {
    const least = fixed + perExpert;
    if (typeof available !== "number" || available >= least) return;
    ctx.addIssue({ code: "custom", path: ["available"], message: `room for one expert, which is ${least}` });
  });

/** One measured device. */
const recordSchema = z.strictObject({
  tokensPerSecond: positive.exactOptional().describe("measured speed of training"),
  downlink: positive.exactOptional().describe("measured bytes per second"),
  uplink: positive.exactOptional().describe("measured bytes per second"),
});

const traceSchema = z.strictObject({
  records: z.array(recordSchema).min(1).readonly().describe("one for each measured device"),
  assignment: z
    .enum(["cycle", "random"])
    .default("cycle")
    .describe("`cycle`: client i takes record i modulo their number, as FedScale does; `random`: any record"),
});

/** `all` is everybody. */
const name = z
  .string()
  .min(1)
  .max(64)
  .refine((name) => name !== "all", 'another name than "all"');

const tierSchema = z
  .strictObject({
    name: name.describe("what tables and plots call it"),
    clients: count.max(2 ** 24).describe("how many devices the tier has"),
    budget: z
      .union([budget, deadlineBudget])
      .describe(
        "what the task calls a budget, experts per token k_i for a language model: the tier's own, or the largest that a device finishes a round with in time",
      ),
    tokensPerSecond: lawSchema
      .exactOptional()
      .describe("training speed at the tier's own budget: one number, or a law that each device draws from once"),
    speed: speedSchema.exactOptional().describe("any other law of speed, instead of `tokensPerSecond`"),
    speedAtBudget: count
      .exactOptional()
      .describe("budget at which the speed is quoted. Left out: the tier's own, or the largest of a deadline budget"),
    uplink: lawSchema.exactOptional().describe("bytes per second; `megabits(5)` is 625,000"),
    downlink: lawSchema.exactOptional().describe("bytes per second; five times the uplink unless given"),
    link: linkSchema.exactOptional().describe("any other law of links, instead of `uplink` and `downlink`"),
    latency: lawOrNothing.exactOptional().describe("one-way, in milliseconds; drawn once per device"),
    memory: memorySchema
      .exactOptional()
      .describe("a bound on budgets: the largest whose training fits into what a device has"),
    region: z.string().exactOptional().describe("all clients of the tier live here. Left out: regions by their shares"),
    dropout: probability.exactOptional().describe("probability of dropping out of a round during training"),
    trace: traceSchema.exactOptional().describe("measured devices, for laws of type `trace`"),
  })
  .refine(({ tokensPerSecond, speed }) => (tokensPerSecond === undefined) !== (speed === undefined), {
    error: "either tokensPerSecond or speed",
  })
  .refine(
    ({ link, uplink, downlink }) =>
      link === undefined ? uplink !== undefined : uplink === undefined && downlink === undefined,
    { error: "either link, or uplink with or without downlink" },
  )
  .superRefine(({ speed, link, trace }, ctx) => {
    const missing = (message: string, ...path: PropertyKey[]): void =>
      ctx.addIssue({ code: "custom", path: ["trace", ...path], message });
    const [speedIsTraced, linkIsTraced] = [speed?.type === "trace", link?.type === "trace"];
    if (trace === undefined) {
      if (speedIsTraced || linkIsTraced) missing("measured devices, which a law of this tier reads");
      return;
    }
    for (const [i, { tokensPerSecond, downlink, uplink }] of trace.records.entries()) {
      if (speedIsTraced && tokensPerSecond === undefined) missing("a number", "records", i, "tokensPerSecond");
      if (linkIsTraced && (downlink ?? uplink) === undefined) missing("a number", "records", i, "downlink");
    }
  });

const distinct = (parts: readonly { readonly name: string }[], ctx: z.RefinementCtx): void => {
  const seen = new Set<string>();
  for (const [i, { name }] of parts.entries()) {
    if (seen.has(name)) ctx.addIssue({ code: "custom", path: [i, "name"], message: "a name that no other one has" });
    seen.add(name);
  }
};

export const tiersSchema = z
  .array(tierSchema)
  .min(1)
  .max(mostTiers)
  .superRefine(distinct)
  .refine((tiers) => clientsIn(tiers) <= mostClients, `at most ${mostClients} clients in all`)
  .readonly();

/** Where clients live. */
export const regionsSchema = z
  .array(
    z.strictObject({
      name: name.describe("what tiers, effects and time zones call it"),
      share: notNegative.describe("how many clients live there, relative to other regions; shares need not sum to 1"),
    }),
  )
  .min(1)
  .superRefine(distinct)
  .refine((regions) => regions.some(({ share }) => share > 0), "at least one region with a share above 0")
  .readonly();

export type TierSpec = Readonly<z.output<typeof tierSchema>>;
export type RegionSpec = Readonly<z.output<typeof regionsSchema>[number]>;
export type DeadlineBudget = Readonly<z.output<typeof deadlineBudget>>;
export type MemorySpec = Readonly<z.output<typeof memorySchema>>;
export type DeviceRecord = Readonly<z.output<typeof recordSchema>>;
export type DeviceTrace = Readonly<z.output<typeof traceSchema>>;

export interface FleetSpec {
  readonly tiers: readonly TierSpec[];
  /** Left out: one region named `everywhere`. */
  readonly regions?: readonly RegionSpec[];
}

export const clientsIn = (tiers: readonly { readonly clients: number }[]): number =>
  tiers.reduce((sum, { clients }) => sum + clients, 0);

/** Regions in which tiers lie and that there are not. */
export function checkRegions(tiers: readonly TierSpec[], regions: readonly RegionSpec[] = []): Problem[] {
  const places = regions.map(({ name }) => name);
  return tiers.flatMap(({ region }, i) => {
    if (region === undefined || places.includes(region)) return [];
    return [expected(`fleet[${i}].region`, `one of the regions ${places.join(", ") || "(there are none)"}`, region)];
  });
}

export const speedOfTier = ({ speed, tokensPerSecond }: TierSpec): SpeedLaw =>
  speed ?? { type: "tokens-per-second", law: tokensPerSecond! };

export const linkOfTier = ({ link, uplink, downlink }: TierSpec): LinkLaw =>
  link ?? { type: "rates", down: downlink ?? faster(uplink!), up: uplink! };

/** How much faster a downlink is than an uplink of which nothing else is known. */
const downlinkFactor = 5;

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

/** Local training data: given per client, or drawn for fleets whose clients hold none. */
export type PartitionSizes =
  | { readonly examples: ArrayLike<number>; readonly tokens: ArrayLike<number> }
  | { readonly examplesPerClient: Law; readonly tokensPerExample: number };

/** What one client's part in a round costs. */
export interface RoundCost {
  /** Training cost of one token at a budget, in FLOPs, or in any unit if no tier is quoted in FLOPs. */
  readonly flopsPerToken: (budget: number) => number;
  /** Tokens a client trains on in a round, by the examples and tokens it holds. */
  readonly trainedTokens: (examples: number, tokens: number) => number;
  readonly downloadBytes: number;
  readonly uploadBytes: number;
}

/** Cost in proportion to the budget; free messages. */
export const defaultRoundCost: RoundCost = {
  flopsPerToken: (budget) => budget,
  trainedTokens: (_, tokens) => tokens,
  downloadBytes: 0,
  uploadBytes: 0,
};
