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
