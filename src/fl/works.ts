/**
 * Heavy arithmetic that a strategy's `finish` has done by the pool, so that the server's own thread stays free: named
 * functions of plain data and typed arrays, which every worker has. A strategy's own code never runs there.
 *
 *   const { products } = await at.work("gram", { vectors });
 *
 * A work is a pure function of its input. A run that is cut off while one goes on asks for it again.
 */

import { absorbAll, triplesOfAll } from "./low-rank/decomposing.ts";
import { residualsOf } from "./low-rank/residual.ts";

/** Plain data, with typed arrays; it is copied on its way. */
export type Works = typeof works;

export type WorkName = keyof Works;
export type WorkInput<Name extends WorkName> = Parameters<Works[Name]>[0];
export type WorkResult<Name extends WorkName> = ReturnType<Works[Name]>;

/** Has a work done. Several can go on at the same time, as many as there are workers. */
export type AskForWork = <Name extends WorkName>(name: Name, input: WorkInput<Name>) => Promise<WorkResult<Name>>;

const works = { gram, triples: triplesOfAll, absorb: absorbAll, residuals: residualsOf };

export const workNames = Object.keys(works) as WorkName[];

/** Does a work on this thread. */
export function doWork<Name extends WorkName>(name: Name, input: WorkInput<Name>): WorkResult<Name> {
  // Which function has which input the compiler does not follow through a name.
  const work = works[name] as (input: WorkInput<Name>) => WorkResult<Name>;
  return work(input);
}

/**
 * Inner products of vectors, each brought to length 1; a zero vector stays one.
 *
 * @returns `products[i][j]`, symmetric
 */
function gram({ vectors }: { readonly vectors: readonly Float64Array[] }): { readonly products: Float64Array[] } {
  const unit = vectors.map((vector) => {
    const norm = Math.sqrt(dot(vector, vector));
    return norm === 0 ? vector : vector.map((x) => x / norm);
  });
  const products = unit.map(() => new Float64Array(unit.length));
  for (const [i, x] of unit.entries()) {
    for (let j = 0; j <= i; j++) {
      products[i]![j] = dot(x, unit[j]!);
      products[j]![i] = products[i]![j]!;
    }
  }
  return { products };
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}
