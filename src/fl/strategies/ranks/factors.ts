/** From sums of products back to factors. */
import type { LowRankPair } from "../../../tasks/layout.ts";
import type { ProductSum } from "../../low-rank/products.ts";
import { completed, type Triples } from "../../low-rank/svd.ts";
import type { AskForWork } from "../../works.ts";

/** Matrices that one work deals with, whatever the number of workers. */
const matricesPerWork = 24;

/** What is handed to one work each. */
export function inParts<Item>(items: readonly Item[]): Item[][] {
  const parts: Item[][] = [];
  for (let from = 0; from < items.length; from += matricesPerWork)
    parts.push(items.slice(from, from + matricesPerWork));
  return parts;
}

/** The largest triples of each sum, found by the pool. */
export async function decomposed(
  sums: readonly ProductSum[],
  most: number,
  work: AskForWork,
): Promise<readonly Triples[]> {
  return (await Promise.all(inParts(sums).map((part) => work("triples", { sums: part, most })))).flat();
}

/**
 * Writes the factors of the best approximation of `factor` · Σ, as many as the pair has components. Where Σ has fewer
 * directions B is 0, and A goes on with orthonormal rows: with both 0 neither could ever learn.
 *
 * @param split `B`: A has orthonormal rows. `sqrt`: both have the singular values' roots.
 */
export function writeFactors(
  parameters: Float32Array,
  { rank, inputs, outputs, a, b }: LowRankPair,
  { sigma, left, right }: Triples,
  factor: number,
  split: "B" | "sqrt",
): void {
  const rows = [...right, ...completed(right, inputs, Math.max(0, Math.min(rank, inputs) - right.length))];
  for (let q = 0; q < rank; q++) {
    const root = split === "sqrt" && q < sigma.length ? Math.sqrt(sigma[q]! * factor) : 1;
    const row = rows[q % rows.length]!;
    for (let i = 0; i < inputs; i++) parameters[a + q * inputs + i] = root * row[i]!;
    const column = left[q];
    for (let i = 0; i < outputs; i++)
      parameters[b + i * rank + q] = column === undefined ? 0 : (factor * column[i]!) / root;
  }
}

/** The same product at a scale that is `factor` times as large. */
export function rescaled(
  parameters: Float32Array,
  pairs: readonly LowRankPair[],
  factor: number,
  split: "B" | "sqrt",
): Float32Array {
  const scaled = parameters.slice();
  for (const { rank, inputs, outputs, a, b } of pairs) {
    const ofB = split === "B" ? factor : Math.sqrt(factor);
    for (let i = b; i < b + outputs * rank; i++) scaled[i]! /= ofB;
    if (split === "B") continue;
    for (let i = a; i < a + inputs * rank; i++) scaled[i]! /= ofB;
  }
  return scaled;
}
