/** Student's t, in closed form: no table, no approximation. */

/**
 * P(−t < T < t): the finite series of Abramowitz & Stegun 26.7.3 (odd degrees) and 26.7.4 (even).
 *
 * @param degrees of freedom, whole, at least 1
 */
export function tWithin(t: number, degrees: number): number {
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

/**
 * The value that |T| stays below with probability `p`: 2.776 for 95 % and 4 degrees.
 *
 * @param p in (0, 1)
 */
export function tBound(p: number, degrees: number): number {
  const known = `${p} ${degrees}`;
  const bound = bounds.get(known) ?? root((t) => tWithin(t, degrees) - p);
  bounds.set(known, bound);
  return bound;
}

/** A report asks for a few of them, thousands of times. */
const bounds = new Map<string, number>();

/** Where an increasing function that is below 0 at 0 passes it, to the last bit. */
export function root(f: (x: number) => number): number {
  let low = 0;
  let high = 1;
  while (f(high) < 0) high *= 2;
  for (let step = 0; step < 80; step++) {
    const middle = (low + high) / 2;
    if (f(middle) < 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
