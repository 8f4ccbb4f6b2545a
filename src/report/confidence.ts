/**
 * Mean and confidence interval of a few runs. Seeds are few, so the interval takes Student's t and not the normal
 * distribution: with 5 seeds it is 2.776 standard errors wide on either side, not 1.960.
 */
import { mean, sampleStandardDeviation } from "simple-statistics";

export interface Estimate {
  readonly mean: number;
  /** Half the width of the interval; null where a single value cannot tell. */
  readonly half: number | null;
  /** Finite values it rests on. */
  readonly count: number;
}

/** Null without a finite value: a run that diverged has no place in a mean. */
export function estimate(values: readonly number[], confidence = 0.95): Estimate | null {
  const finite = values.filter(Number.isFinite);
  const { length: count } = finite;
  if (count === 0) return null;
  if (count === 1) return { mean: finite[0]!, half: null, count };
  const error = sampleStandardDeviation(finite) / Math.sqrt(count);
  return { mean: mean(finite), half: tQuantile((1 + confidence) / 2, count - 1) * error, count };
}

/** How far two variants differ, seed by seed. */
export interface PairedTest extends Estimate {
  /** Two-sided, of Student's t: how often a mean at least so far from 0 comes about when there is no difference. */
  readonly p: number;
}

/** A test of fewer pairs would rest on the distribution that it assumes more than on them. */
export const fewestPairs = 3;

/**
 * The paired t-test. An exact test of signs has no power here: of n seeds it gives at least 2 ÷ 2ⁿ, 0.0625 for five.
 *
 * @param differences one for each seed
 * @returns null for fewer than {@link fewestPairs} finite values
 */
export function pairedTest(differences: readonly number[]): PairedTest | null {
  const found = estimate(differences);
  if (found === null || found.half === null || found.count < fewestPairs) return null;
  const degrees = found.count - 1;
  const error = found.half / tQuantile(0.975, degrees);
  // Equal differences leave no doubt, whichever way they point.
  const p = error > 0 ? 1 - tWithin(Math.abs(found.mean) / error, degrees) : found.mean === 0 ? 1 : 0;
  return { ...found, p: Math.max(0, p) };
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

/**
 * The value that Student's t with `degrees` of freedom stays below with probability `p`.
 *
 * @param p in (0.5, 1)
 * @param degrees whole, at least 1
 */
function tQuantile(p: number, degrees: number): number {
  let low = 0;
  let high = 1;
  while ((1 + tWithin(high, degrees)) / 2 < p) high *= 2;
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2;
    if ((1 + tWithin(middle, degrees)) / 2 < p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(−t < T < t): the finite series of Abramowitz & Stegun 26.7.3 (odd degrees) and 26.7.4 (even). */
function tWithin(t: number, degrees: number): number {
  const angle = Math.atan(t / Math.sqrt(degrees));
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  const odd = degrees % 2 === 1;
  let term = odd ? cosine : 1;
  let sum = degrees === 1 ? 0 : term;
  for (let k = odd ? 3 : 2; k < degrees; k += 2) {
    term *= ((k - 1) / k) * cosine ** 2;
    sum += term;
  }
  return odd ? (2 / Math.PI) * (angle + sine * sum) : sine * sum;
}
