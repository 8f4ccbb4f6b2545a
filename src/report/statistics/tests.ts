/** Are variants different? Seed by seed, because all meet the same data, fleet and luck under a seed. */
import { errorFunction } from "simple-statistics";
import { type Estimate, estimate, fewest, type Interval } from "./intervals.ts";
import { root, tBound, tWithin } from "./student.ts";

/** How far two variants differ, seed by seed. */
export interface PairedTest extends Estimate {
  readonly interval: Interval;
  /** Two-sided, of Student's t: how often a mean at least so far from 0 comes about when there is no difference. */
  readonly p: number;
}

/**
 * The paired t-test. An exact test of signs has no power here: of n seeds it gives at least 2 ÷ 2ⁿ, 0.0625 for five.
 *
 * @param differences one for each seed
 * @returns null for fewer than three finite values
 */
export function pairedTest(differences: readonly number[]): PairedTest | null {
  const found = estimate(differences, "real");
  if (found === null || found.interval === null || found.count < fewest) return null;
  const { mean, interval, count } = found;
  const error = (interval.high - mean) / tBound(0.95, count - 1);
  // Equal differences leave no doubt, whichever way they point.
  const p = error > 0 ? 1 - tWithin(Math.abs(mean) / error, count - 1) : mean === 0 ? 1 : 0;
  return { ...found, interval, p: Math.max(0, p) };
}

/**
 * Holm's correction: the i-th smallest of m is multiplied by m − i + 1, and none falls below one before it. Whoever
 * rejects those below 0.05 is wrong about any of them in at most 5 % of all studies, however the tests hang together.
 *
 * Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
 *
 * @returns in the order given, at most 1
 */
export function holm(values: readonly number[]): number[] {
  const order = values.map((_, at) => at).sort((a, b) => values[a]! - values[b]!);
  const adjusted = new Array<number>(values.length);
  let floor = 0;
  for (const [rank, at] of order.entries()) {
    floor = Math.max(floor, Math.min(1, (values.length - rank) * values[at]!));
    adjusted[at] = floor;
  }
  return adjusted;
}

/** 1 for the lowest; equal values share the mean of their ranks, and those that are no number come last together. */
export function ranksOf(values: readonly number[]): number[] {
  const keys = values.map((value) => (Number.isFinite(value) ? value : Number.POSITIVE_INFINITY));
  return keys.map((key) => {
    const below = keys.filter((other) => other < key).length;
    const equal = keys.filter((other) => other === key).length;
    return below + (equal + 1) / 2;
  });
}

/**
 * How far mean ranks of `methods` over `blocks` have to lie apart: Nemenyi's test at 5 %,
 *
 *   CD = q · √(k·(k+1) ÷ (12·n))
 *
 * with q the studentized range of k normal values with infinitely many degrees of freedom.
 * Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006 (whose q is q ÷ √2).
 */
export const criticalDifference = (methods: number, blocks: number): number =>
  root((q) => rangeWithin(q, methods) - 0.95) * Math.sqrt((methods * (methods + 1)) / (12 * blocks));

/** P(range of n standard normal values < q) = n ∫ φ(x)·(Φ(x) − Φ(x − q))ⁿ⁻¹ dx, by Simpson's rule. */
function rangeWithin(q: number, n: number): number {
  const [from, to, parts] = [-8, 8 + q, 400];
  const step = (to - from) / parts;
  let sum = 0;
  for (let at = 0; at <= parts; at++) {
    const x = from + at * step;
    const weight = at === 0 || at === parts ? 1 : at % 2 === 1 ? 4 : 2;
    const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
    sum += weight * density * (normalBelow(x) - normalBelow(x - q)) ** (n - 1);
  }
  return (n * sum * step) / 3;
}

/** Φ(x); the library's error function is right to 1.2e-7. */
const normalBelow = (x: number): number => (1 + errorFunction(x / Math.SQRT2)) / 2;
