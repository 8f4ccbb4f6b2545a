/** A small setting in which clients have different ranks, and what they have after training. */
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { emptyMemory } from "../../src/fl/plan.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { layoutOfPairs, productIn, rankedSetting } from "./low-rank.ts";
import { serverOf } from "./quadratic.ts";

/** Two matrices, ranks up to four; budgets 1, 2 and 4 have these ranks, by `share` too. */
export const layout = layoutOfPairs(
  [
    { outputs: 6, inputs: 5 },
    { outputs: 5, inputs: 7 },
  ],
  4,
  0.5,
);
export const setting = rankedSetting(layout, [1, 2, 4]);
export const [pair] = layout.pairs as [(typeof layout.pairs)[0]];

export const normals = (seed: number, scale = 1) => {
  const draws = new Rng(seed).at("values").at(0);
  return Float64Array.from({ length: layout.size }, () => Math.fround(scale * draws.normal()));
};
/** What a client of that rank has that received `base`: in its scope something else. */
export function trainedFrom(base: Float64Array, seed: number, rank: number): Float64Array {
  const [values, change] = [base.slice(), normals(seed, 0.1)];
  for (const { a, b, inputs, outputs, rank: full } of layout.pairs) {
    for (let i = a; i < a + rank * inputs; i++) values[i] = Math.fround(values[i]! + change[i]!);
    for (let row = 0; row < outputs; row++) {
      for (let i = b + row * full; i < b + row * full + rank; i++) values[i] = Math.fround(values[i]! + change[i]!);
    }
  }
  return values;
}
export const viewOf = (budget: number, at = 1, client = 0) => ({
  client: clientId(client),
  participation: participationId(0),
  budget,
  examples: 3,
  round: round(at),
  memory: emptyMemory,
  draws: (purpose: string) => new Rng(5).at(purpose, at).at(client),
});
export const server = (strategy: Strategy, values: Float64Array) => serverOf(strategy, values, setting);
export const productsIn = (values: ArrayLike<number>, components?: number) =>
  layout.pairs.flatMap((one) => productIn(values, one, components).flat());
