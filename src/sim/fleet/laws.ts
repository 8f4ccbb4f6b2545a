/**
 * Laws of chance for positive quantities: durations, rates, sizes.
 *
 *   shifted exponential   P(T > t) = exp(−(t − minimum) / mean)
 *   Pareto                P(T > t) = (minimum / t)^alpha
 *   half-normal           minimum + |N(0, sd)|
 *   log-normal            median · exp(sigma · Z); from mean m and coefficient of variation cv:
 *                         sigma² = ln(1 + cv²), median = m · exp(−sigma² / 2)
 */
import * as z from "zod";
import { unreachable } from "../../base/errors.ts";
import { notNegative, positive } from "../../base/fields.ts";
import type { Draws } from "../../base/random.ts";

const mean = positive.describe("mean of all values");
const scale = positive.describe("what a value of the unit law is multiplied by");
const minimum = notNegative.exactOptional().describe("smallest value; 0 unless given");

const spreadLaws = [
  z
    .strictObject({
      type: z.literal("uniform"),
      min: notNegative.describe("smallest value"),
      max: positive.describe("largest value"),
    })
    .describe("anything between two numbers alike")
    .superRefine(({ min, max }, ctx) => {
      if (max < min) ctx.addIssue({ code: "custom", path: ["max"], message: `at least min, which is ${min}` });
    }),
  z
    .strictObject({ type: z.literal("normal"), mean, sd: notNegative.describe("standard deviation") })
    .describe("values that are not above 0 are drawn again"),
  z
    .strictObject({
      type: z.literal("log-normal"),
      median: positive.describe("half of all values are below it"),
      sigma: notNegative.describe("standard deviation of the logarithm"),
    })
    .describe("many small values, few large ones"),
  z
    .strictObject({ type: z.literal("log-normal"), mean, cv: notNegative.describe("standard deviation ÷ mean") })
    .describe("many small values, few large ones"),
  z
    .strictObject({
      type: z.literal("exponential"),
      mean: positive.describe("mean of the part above `minimum`"),
      minimum,
    })
    .describe("memoryless, above a minimum"),
  z
    .strictObject({
      type: z.literal("half-normal"),
      sd: positive.describe("standard deviation of the normal before its sign is dropped"),
      minimum,
    })
    .describe("half a bell, above a minimum"),
  z
    .strictObject({
      type: z.literal("pareto"),
      minimum: positive.describe("smallest value"),
      alpha: positive.describe("P(T > t) = (minimum ÷ t)^alpha: the smaller, the more extremes"),
    })
    .describe("a heavy tail above a minimum"),
  z
    .strictObject({
      type: z.literal("weibull"),
      scale,
      shape: positive.describe("1 is exponential, below 1 with more extremes"),
    })
    .describe("an exponential, stretched"),
  z
    .strictObject({ type: z.literal("gamma"), scale, shape: positive.describe("mean = shape · scale") })
    .describe("a sum of exponentials"),
] as const;

/** A plain number is the constant law. */
export const lawSchema = z.union([positive, ...spreadLaws]);
/** Of a quantity that may also be nothing at all. */
export const lawOrNothing = z.union([notNegative, ...spreadLaws]);

export type Law = Readonly<z.output<typeof lawSchema>>;

/** Of the log-normal law drawn from last: a run mostly draws from one. */
let latest: { readonly law: Law; readonly mu: number; readonly sigma: number } | null = null;

export function drawFrom(law: Law, draws: Draws): number {
  if (typeof law === "number") return law;
  switch (law.type) {
    case "uniform":
      return law.min + (law.max - law.min) * draws.uniform();
    case "normal":
      return positiveNormal(law.mean, law.sd, draws);
    case "log-normal": {
      if (latest?.law !== law) latest = { law, ...logNormalParameters(law) };
      return draws.logNormal(latest.mu, latest.sigma);
    }
    case "exponential":
      return (law.minimum ?? 0) + draws.exponential(law.mean);
    case "half-normal":
      return (law.minimum ?? 0) + law.sd * Math.abs(draws.normal());
    case "pareto":
      return law.minimum * (1 - draws.uniform()) ** (-1 / law.alpha);
    case "weibull":
      return law.scale * draws.exponential(1) ** (1 / law.shape);
    case "gamma":
      return law.scale * draws.gamma(law.shape);
    default:
      return unreachable(law);
  }
}

/** A normal above 0, by drawing again. With a positive mean that takes two draws at most on average. */
export function positiveNormal(mean: number, sd: number, draws: Draws): number {
  for (;;) {
    const value = mean + sd * draws.normal();
    if (value > 0) return value;
  }
}

/** Index of one of `shares`, each as likely as its share of the sum. */
export function pickByShare(shares: readonly number[], draws: Draws): number {
  let left = draws.uniform() * shares.reduce((sum, share) => sum + share, 0);
  for (const [index, share] of shares.entries()) {
    left -= share;
    if (left < 0) return index;
  }
  return shares.length - 1;
}

export function logNormalParameters(law: Extract<Law, { type: "log-normal" }>): { mu: number; sigma: number } {
  if ("median" in law) return { mu: Math.log(law.median), sigma: law.sigma };
  const variance = Math.log(1 + law.cv ** 2);
  return { mu: Math.log(law.mean) - variance / 2, sigma: Math.sqrt(variance) };
}
