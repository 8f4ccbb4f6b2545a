/** What is left of a vector when only its largest entries are sent. */

/** The `count` entries of largest magnitude and zeros elsewhere; of equal ones the first. */
export function largest(values: Float64Array, count: number): Float64Array {
  if (count >= values.length) return values.slice();
  if (count === 0) return new Float64Array(values.length);
  const sorted = Float64Array.from(values, Math.abs).sort();
  const threshold = sorted[values.length - count]!;
  const kept = new Float64Array(values.length);
  let atThreshold = count;
  for (const value of values) if (Math.abs(value) > threshold) atThreshold--;
  for (const [i, value] of values.entries()) {
    const size = Math.abs(value);
    if (size > threshold || (size === threshold && atThreshold-- > 0)) kept[i] = value;
  }
  return kept;
}
