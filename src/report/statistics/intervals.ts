/**
 * Mean and 95 % confidence interval of a few runs. Seeds are few, so intervals take Student's t and not the normal
 * distribution: with 5 seeds they are 2.776 standard errors wide on either side, not 1.960. Where a value cannot leave its
 * range, the interval is made where there is none and brought back; to first order it is the same:
 *
 *   real      m ± t·e
 *   positive  m · exp(± t·e/m)                           log
 *   share     1 / (1 + (1−m)/m · exp(∓ t·e/(m·(1−m))))   logit
 *
 * with m the mean and e its standard error.
 */
import { mean, sampleStandardDeviation } from "simple-statistics";
import { tBound } from "./student.ts";

/** Where values live: anywhere, above 0 (times, losses), in [0, 1]. */
export type Form = "real" | "positive" | "share";

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface Estimate {
  readonly mean: number;
  /** Null for fewer than {@link fewest} values, and where all of them lie at the end of their range. */
  readonly interval: Interval | null;
  /** Finite values that it rests on. */
  readonly count: number;
}

/** An interval of fewer values would rest on the distribution that it assumes more than on them. */
export const fewest = 3;

const confidence = 0.95;

/** Null without a finite value: a run that diverged has no place in a mean. */
export function estimate(values: readonly number[], form: Form): Estimate | null {
  const finite = values.filter(Number.isFinite);
  const { length: count } = finite;
  if (count === 0) return null;
  const middle = mean(finite);
  if (count < fewest) return { mean: middle, interval: null, count };
  const half = (tBound(confidence, count - 1) * sampleStandardDeviation(finite)) / Math.sqrt(count);
  return { mean: middle, interval: around(middle, half, form), count };
}

function around(middle: number, half: number, form: Form): Interval | null {
  if (form === "real") return { low: middle - half, high: middle + half };
  if (form === "positive") {
    const factor = Math.exp(half / middle);
    return middle > 0 ? { low: middle / factor, high: middle * factor } : null;
  }
  if (middle <= 0 || middle >= 1) return null;
  const factor = Math.exp(half / (middle * (1 - middle)));
  const odds = (1 - middle) / middle;
  return { low: 1 / (1 + odds * factor), high: 1 / (1 + odds / factor) };
}

/** 97.5 % of the standard normal distribution. */
const normalBound = 1.959963984540054;

/**
 * Wilson's interval of a share: how far it may be off for having been found on so many.
 *
 * Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
 *
 * @param share in [0, 1], of `count` ≥ 1 that are independent
 */
export function wilson(share: number, count: number): Interval {
  const z = normalBound ** 2 / count;
  const middle = (share + z / 2) / (1 + z);
  const half = Math.sqrt(z * share * (1 - share) + z ** 2 / 4) / (1 + z);
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}
