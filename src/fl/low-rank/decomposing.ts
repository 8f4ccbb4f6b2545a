/** What the pool does with sums of products. */
import { matrixOf, type ProductSum, triplesOf } from "./products.ts";
import type { Triples } from "./svd.ts";

/** The largest singular triples of each sum, at most `most`. */
export const triplesOfAll = ({
  sums,
  most,
}: {
  readonly sums: readonly ProductSum[];
  readonly most: number;
}): readonly Triples[] => sums.map((sum) => triplesOf(sum, most));

/** A matrix that grows by a sum of products. */
export interface Absorption {
  /** Column by column. */
  readonly delta: Float32Array;
  readonly sum: ProductSum;
  /** What the sum is multiplied by. */
  readonly factor: number;
}

export interface Absorbed {
  readonly delta: Float32Array;
  readonly triples: Triples;
}

/**
 * Adds each sum to its matrix, and decomposes what comes out.
 *
 * @param compressTo the rank that matrices are brought down to; null leaves them as they are
 */
export const absorbAll = ({
  items,
  most,
  compressTo,
}: {
  readonly items: readonly Absorption[];
  readonly most: number;
  readonly compressTo: number | null;
}): readonly Absorbed[] =>
  items.map(({ delta, sum, factor }) => {
    const { outputs, inputs } = sum;
    const grown = delta.slice();
    for (const [i, value] of matrixOf(sum).entries()) grown[i] = grown[i]! + factor * value;
    const whole = { outputs, inputs, left: [], right: [], matrix: Float64Array.from(grown) };
    if (compressTo === null) return { delta: grown, triples: triplesOf(whole, most) };
    const triples = triplesOf(whole, compressTo);
    const compressed = matrixOf({ ...whole, left: [...triples.left], right: [...triples.right], matrix: null });
    return { delta: Float32Array.from(compressed), triples };
  });
