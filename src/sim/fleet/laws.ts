/**
 * Laws of chance for positive quantities: durations, rates, sizes.
 *
 *   shifted exponential   P(T > t) = exp(−(t − minimum) / mean)
 *   Pareto                P(T > t) = (minimum / t)^alpha
 *   half-normal           minimum + |N(0, sd)|
 *   log-normal            median · exp(sigma · Z); from mean m and coefficient of variation cv:
 *                         sigma² = ln(1 + cv²), median = m · exp(−sigma² / 2)
 */
import { unreachable } from "../../base/errors.ts";
import { checkNotNegative, checkPositive, checkThat, type Problem, problem } from "../../base/problem.ts";
import type { Draws } from "../../base/random.ts";

/** A plain number is the constant law. */
export type Law =
  | number
  | { readonly type: "uniform"; readonly min: number; readonly max: number }
  /** Values that are not above 0 are drawn again. */
  | { readonly type: "normal"; readonly mean: number; readonly sd: number }
  | { readonly type: "log-normal"; readonly median: number; readonly sigma: number }
  | { readonly type: "log-normal"; readonly mean: number; readonly cv: number }
  /** `mean` is that of the part above `minimum`. */
  | { readonly type: "exponential"; readonly mean: number; readonly minimum?: number }
  | { readonly type: "half-normal"; readonly sd: number; readonly minimum?: number }
  | { readonly type: "pareto"; readonly minimum: number; readonly alpha: number }
  | { readonly type: "weibull"; readonly scale: number; readonly shape: number }
  | { readonly type: "gamma"; readonly scale: number; readonly shape: number };

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

export function checkLaw(path: string, law: Law | undefined): Problem[] {
  if (law === undefined) return [];
  if (typeof law === "number") return checkPositive(path, law);
  switch (law.type) {
    case "uniform":
      return [
        ...checkNotNegative(`${path}.min`, law.min),
        ...checkPositive(`${path}.max`, law.max),
        ...checkThat(law.max >= law.min, `${path}.max`, `at least min, which is ${law.min}`, law.max),
      ];
    case "normal":
      return [...checkPositive(`${path}.mean`, law.mean), ...checkNotNegative(`${path}.sd`, law.sd)];
    case "log-normal":
      return "median" in law
        ? [...checkPositive(`${path}.median`, law.median), ...checkNotNegative(`${path}.sigma`, law.sigma)]
        : [...checkPositive(`${path}.mean`, law.mean), ...checkNotNegative(`${path}.cv`, law.cv)];
    case "exponential":
      return [...checkPositive(`${path}.mean`, law.mean), ...checkNotNegative(`${path}.minimum`, law.minimum)];
    case "half-normal":
      return [...checkPositive(`${path}.sd`, law.sd), ...checkNotNegative(`${path}.minimum`, law.minimum)];
    case "pareto":
      return [...checkPositive(`${path}.minimum`, law.minimum), ...checkPositive(`${path}.alpha`, law.alpha)];
    case "weibull":
    case "gamma":
      return [...checkPositive(`${path}.scale`, law.scale), ...checkPositive(`${path}.shape`, law.shape)];
    default:
      return [problem(path, "a law of chance", law)];
  }
}
