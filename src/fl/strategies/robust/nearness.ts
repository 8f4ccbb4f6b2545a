/** How near updates lie to each other: what Krum and Bulyan choose by. */
import type { Range } from "../../../tasks/layout.ts";
import { deltaFactor } from "../../kept-updates.ts";
import type { Update } from "../../update.ts";

/** The sum of the `count` smallest distances to others; the first of all is that to itself, 0. */
export const nearness = (distances: Float64Array, count: number): number =>
  distances
    .slice()
    .sort()
    .subarray(1, 1 + Math.max(0, count))
    .reduce((sum, distance) => sum + distance, 0);

/** Of each update to each, ‖Δ_a − Δ_b‖² over `ranges`. */
export function squaredDistances(updates: readonly Update[], ranges: readonly Range[]): Float64Array[] {
  const n = updates.length;
  const distances = updates.map(() => new Float64Array(n));
  for (let a = 0; a < n; a++) {
    for (let b = a + 1; b < n; b++) {
      const distance = squaredDistance(updates[a]!, updates[b]!, ranges);
      distances[a]![b] = distance;
      distances[b]![a] = distance;
    }
  }
  return distances;
}

/** By explicit differences: |x|² + |y|² − 2·x·y cancels for close vectors. */
function squaredDistance(a: Update, b: Update, ranges: readonly Range[]): number {
  const [factorA, factorB] = [deltaFactor(a), deltaFactor(b)];
  let square = 0;
  for (const { start, end } of ranges) {
    for (let i = start; i < end; i++) {
      const gap = factorA * (a.values[i]! - a.base[i]!) - factorB * (b.values[i]! - b.base[i]!);
      square += gap * gap;
    }
  }
  return square;
}
