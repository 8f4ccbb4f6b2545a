/**
 * Claims about a run, checked when it has ended; together they decide the exit code.
 *
 * A claim is a factory with a plain-data `spec`, so that scenario.json can carry it. A scenario file may also give a
 * function of the results; such a claim is named in scenario.json and cannot be re-run from there.
 */
import * as z from "zod";
import { formatShare, formatTime } from "../base/units.ts";
import type { BudgetMetrics, RoundMetrics } from "../records/metrics.ts";

export interface Findings {
  /** Row 0 is the base model. */
  readonly rows: readonly RoundMetrics[];
  readonly clients: number;
  /** Tokens routed to each expert in counted updates over the whole run, `[layers][experts]`; empty without training. */
  readonly expertTokens: readonly (readonly number[])[];
}

export interface Verdict {
  readonly holds: boolean;
  /** What was found, with its numbers. */
  readonly found: string;
}

export interface Expectation {
  readonly claim: string;
  /** Null for a function of the scenario's author. */
  readonly spec: ExpectationSpec | null;
  /** Claims about learning say nothing about a run that does not train. */
  readonly needsTraining: boolean;
  check(findings: Findings): Verdict;
}

const share = z.number().min(0).max(1);
const by = (schema: z.ZodNumber) => schema.describe("from the base model to the last evaluation, at least");
const at = z.int().min(1).optional().describe("one budget; every one that is evaluated unless given");
const specs = {
  lossFalls: z
    .strictObject({ type: z.literal("lossFalls"), by: by(z.number().positive()), at })
    .describe("held-out loss is lower in the end, by so many nats"),
  accuracyRises: z
    .strictObject({ type: z.literal("accuracyRises"), by: by(share), at })
    .describe("a larger share of answers is right in the end"),
  accuracyReaches: z
    .strictObject({
      type: z.literal("accuracyReaches"),
      share: share.describe("of the held-out examples, in the last evaluation, at least"),
      at,
    })
    .describe("that share is at least so large in the end"),
  everyExpertTrained: z
    .strictObject({ type: z.literal("everyExpertTrained") })
    .describe("every expert of every layer received a token in a counted update"),
  participationAtLeast: z
    .strictObject({
      type: z.literal("participationAtLeast"),
      share: share.describe("of all invitations, counted"),
    })
    .describe("so large a share of the invitations was counted"),
  everyTierCounted: z
    .strictObject({ type: z.literal("everyTierCounted") })
    .describe("each tier was counted at least once"),
  everyRoundAggregated: z
    .strictObject({ type: z.literal("everyRoundAggregated") })
    .describe("no round closed with too few updates"),
  finishesWithin: z
    .strictObject({
      type: z.literal("finishesWithin"),
      time: z.number().positive().describe("virtual milliseconds to the end of the last round, at most"),
    })
    .describe("the last round closes in time"),
};

export const expectationSpecSchema = z.discriminatedUnion("type", [
  specs.lossFalls,
  specs.accuracyRises,
  specs.accuracyReaches,
  specs.everyExpertTrained,
  specs.participationAtLeast,
  specs.everyTierCounted,
  specs.everyRoundAggregated,
  specs.finishesWithin,
]);
export type ExpectationSpec = z.infer<typeof expectationSpecSchema>;

export interface AtBudget {
  readonly by: number;
  /** One budget k; without it, every evaluated budget. */
  readonly at?: number;
}

/** Held-out loss in the last evaluation is at least `by` nats below the base model's. */
export const lossFalls = (options: AtBudget): Expectation => fromSpec({ type: "lossFalls", ...options });

/** The share of held-out examples answered word for word is at least `by` above the base model's. */
export const accuracyRises = (options: AtBudget): Expectation => fromSpec({ type: "accuracyRises", ...options });

/** In the last evaluation at least this share of held-out examples is answered word for word. */
export const accuracyReaches = (options: { readonly share: number; readonly at?: number }): Expectation =>
  fromSpec({ type: "accuracyReaches", ...options });

/** Every expert of every layer received at least one token in a counted update. */
export const everyExpertTrained = (): Expectation => fromSpec({ type: "everyExpertTrained" });

/** At least this share of all invitations was counted. */
export const participationAtLeast = (least: number): Expectation =>
  fromSpec({ type: "participationAtLeast", share: least });

/** Each tier was counted at least once. */
export const everyTierCounted = (): Expectation => fromSpec({ type: "everyTierCounted" });

/** No round closed with too few updates. */
export const everyRoundAggregated = (): Expectation => fromSpec({ type: "everyRoundAggregated" });

/** The last round closes within this much virtual time. */
export const finishesWithin = (time: number): Expectation => fromSpec({ type: "finishesWithin", time });

/** A claim of the scenario's author. */
export const expectThat = (claim: string, check: (findings: Findings) => boolean | Verdict): Expectation => ({
  claim,
  spec: null,
  needsTraining: false,
  check: (findings) => {
    const verdict = check(findings);
    return typeof verdict === "boolean" ? { holds: verdict, found: verdict ? "true" : "false" } : verdict;
  },
});

/** @param symbol what the task calls a budget: `k` */
export function fromSpec(spec: ExpectationSpec, symbol = "k"): Expectation {
  switch (spec.type) {
    case "lossFalls":
      return {
        claim: `loss falls by ${spec.by}${atBudget(spec.at, symbol)}`,
        spec,
        needsTraining: true,
        check: ({ rows }) => compare(rows, spec, ({ loss }) => loss, -1, symbol),
      };
    case "accuracyRises":
      return {
        claim: `exact-match accuracy rises by ${spec.by}${atBudget(spec.at, symbol)}`,
        spec,
        needsTraining: true,
        check: ({ rows }) => compare(rows, spec, ({ exactMatch }) => exactMatch, 1, symbol),
      };
    case "accuracyReaches":
      return {
        claim: `exact-match accuracy reaches ${formatShare(spec.share)}${atBudget(spec.at, symbol)}`,
        spec,
        needsTraining: true,
        check: ({ rows }) => reaches(rows, spec, symbol),
      };
    case "everyExpertTrained":
      return {
        claim: "every expert is trained",
        spec,
        needsTraining: true,
        check({ expertTokens }) {
          const idle = expertTokens.flatMap((layer, l) =>
            layer.flatMap((tokens, e) => (tokens === 0 ? [`${l}.${e}`] : [])),
          );
          if (expertTokens.length === 0) return { holds: false, found: "nothing was trained" };
          return {
            holds: idle.length === 0,
            found: idle.length === 0 ? "all were" : `no tokens for layer.expert ${idle.join(", ")}`,
          };
        },
      };
    case "participationAtLeast":
      return {
        claim: `at least ${formatShare(spec.share)} of invitations are counted`,
        spec,
        needsTraining: false,
        check({ rows }) {
          const invited = total(rows, "invited");
          const counted = total(rows, "counted");
          return {
            holds: invited > 0 && counted / invited >= spec.share,
            found: `${counted} of ${invited}${invited > 0 ? ` (${formatShare(counted / invited)})` : ""}`,
          };
        },
      };
    case "everyTierCounted":
      return {
        claim: "every tier is counted",
        spec,
        needsTraining: false,
        check({ rows }) {
          const counted = new Map<string, number>();
          for (const { tiers } of rows) {
            for (const { tier, counted: n } of tiers) counted.set(tier, (counted.get(tier) ?? 0) + n);
          }
          const missing = [...counted].filter(([, n]) => n === 0).map(([tier]) => tier);
          return {
            holds: missing.length === 0,
            found: missing.length === 0 ? "all were" : `not ${missing.join(", ")}`,
          };
        },
      };
    case "everyRoundAggregated":
      return {
        claim: "every round aggregates",
        spec,
        needsTraining: false,
        check({ rows }) {
          const failed = rows.filter(({ round, aggregated }) => round > 0 && !aggregated).map(({ round }) => round);
          return { holds: failed.length === 0, found: failed.length === 0 ? "all did" : `not ${failed.join(", ")}` };
        },
      };
    case "finishesWithin":
      return {
        claim: `finishes within ${formatTime(spec.time)} of virtual time`,
        spec,
        needsTraining: false,
        check({ rows }) {
          const end = rows.at(-1)?.closedAt ?? 0;
          return { holds: end <= spec.time, found: formatTime(end) };
        },
      };
  }
}

/** Compares the last evaluation with the base model's, budget by budget. */
function compare(
  rows: readonly RoundMetrics[],
  { by, at }: { readonly by: number; readonly at?: number | undefined },
  read: (metrics: BudgetMetrics) => number,
  direction: 1 | -1,
  symbol: string,
): Verdict {
  const evaluated = rows.filter(({ evaluations }) => evaluations.length > 0);
  const first = evaluated[0];
  const last = evaluated.at(-1);
  if (first === undefined || last === undefined || first === last) {
    return { holds: false, found: "the run was not evaluated before and after training" };
  }
  const found: string[] = [];
  let holds = true;
  for (const before of first.evaluations) {
    if (at !== undefined && before.budget !== at) continue;
    const after = last.evaluations.find(({ budget }) => budget === before.budget);
    if (after === undefined) continue;
    const [from, to] = [read(before), read(after)];
    // NaN compares false, so a diverged run fails its claim.
    if (!((to - from) * direction >= by)) holds = false;
    found.push(`${symbol}=${before.budget} ${from.toFixed(3)} → ${to.toFixed(3)}`);
  }
  if (found.length === 0) return { holds: false, found: `no evaluation at ${symbol}=${at}` };
  return { holds, found: found.join(", ") };
}

/** Looks at the last evaluation alone. */
function reaches(
  rows: readonly RoundMetrics[],
  { share: least, at }: { readonly share: number; readonly at?: number | undefined },
  symbol: string,
): Verdict {
  const last = rows.filter(({ evaluations }) => evaluations.length > 0).at(-1)?.evaluations ?? [];
  const asked = last.filter(({ budget }) => at === undefined || budget === at);
  if (asked.length === 0)
    return { holds: false, found: at === undefined ? "no evaluation" : `no evaluation at ${symbol}=${at}` };
  return {
    holds: asked.every(({ exactMatch }) => exactMatch >= least),
    found: asked.map(({ budget, exactMatch }) => `${symbol}=${budget} ${formatShare(exactMatch)}`).join(", "),
  };
}

const atBudget = (at: number | undefined, symbol: string): string =>
  at === undefined ? " at every budget" : ` at ${symbol}=${at}`;

const total = (rows: readonly RoundMetrics[], key: "invited" | "counted"): number =>
  rows.reduce((sum, row) => sum + row[key], 0);
