/** Layouts of low-rank pairs, and matrices in and out of them, for tests of methods that know ranks. */
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { emptyMemory, type Plan } from "../../src/fl/plan.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import type { LowRankPair, ParameterLayout } from "../../src/tasks/layout.ts";
import type { Setting } from "../../src/tasks/task.ts";
import { serverOf, settingOf, updateOf } from "./quadratic.ts";

export type Matrix = readonly (readonly number[])[];

/** Pairs one behind the other, each a group of its own, A before B. */
export function layoutOfPairs(
  shapes: readonly { readonly outputs: number; readonly inputs: number }[],
  rank: number,
  scale = 1,
): ParameterLayout {
  let at = 0;
  const pairs = shapes.map(({ outputs, inputs }, group): LowRankPair => {
    const a = at;
    const b = a + rank * inputs;
    at = b + outputs * rank;
    return { group, rank, inputs, outputs, scale, a, b };
  });
  const groups = pairs.map(({ a, b, outputs }, group) => ({
    name: `pair ${group}`,
    ranges: [{ start: a, end: b + outputs * rank }],
  }));
  return { size: at, groups, pairs };
}

/** Writes factors of at most the pair's rank; the other components stay. */
export function setFactors(values: Float64Array, { a, b, inputs, rank }: LowRankPair, B: Matrix, A: Matrix): void {
  for (const [q, row] of A.entries()) values.set(row, a + q * inputs);
  for (const [i, row] of B.entries()) for (const [q, value] of row.entries()) values[b + i * rank + q] = value;
}

/** The first `components` of a pair, as they lie in parameters. */
export function factorsIn(values: ArrayLike<number>, pair: LowRankPair, components = pair.rank) {
  const { a, b, inputs, outputs, rank } = pair;
  const of = (count: number, each: (at: number) => number) => Array.from({ length: count }, (_, at) => each(at));
  return {
    A: Array.from({ length: components }, (_, q) => of(inputs, (i) => values[a + q * inputs + i]!)),
    B: Array.from({ length: outputs }, (_, row) => of(components, (q) => values[b + row * rank + q]!)),
  };
}

export const product = (B: Matrix, A: Matrix, scale = 1): number[][] =>
  B.map((row) =>
    Array.from({ length: A[0]!.length }, (_, j) => scale * row.reduce((sum, b, q) => sum + b * A[q]![j]!, 0)),
  );

/** B·A of the first components. */
export function productIn(values: ArrayLike<number>, pair: LowRankPair, components = pair.rank): number[][] {
  const { A, B } = factorsIn(values, pair, components);
  return product(B, A);
}

/** Budgets are ranks. */
export const rankedSetting = (layout: ParameterLayout, ranks: readonly number[]): Setting =>
  settingOf(layout, { budgets: [...new Set(ranks)].sort((a, b) => a - b), variant: (topK) => ({ topK }) });
export const byBudget = (ranks: readonly number[]) => ({
  ranks: Object.fromEntries(ranks.map((rank) => [rank, rank])),
});

/** What a client of that rank sends that reached these values, plan and reply included. */
export function sentBy(
  strategy: Strategy,
  client: number,
  rank: number,
  values: Float64Array,
  setting: Setting,
  given: { examples?: number; base?: Float64Array; plan?: Plan } = {},
) {
  const base = (given.base ?? new Float64Array(values.length)) as unknown as Float32Array;
  const view = {
    client: clientId(client),
    budget: rank,
    examples: given.examples ?? 1,
    round: round(1),
    memory: emptyMemory,
    draws: setting.draws,
    participation: participationId(client),
  };
  const plan = given.plan ?? strategy.plan!(view, serverOf(strategy, base, setting), setting);
  const update = updateOf(base, values, { ...view, plan });
  const { sent = {}, values: replied } = strategy.reply?.({ ...update, found: {} }, plan, view, setting) ?? {};
  return { ...update, sent, ...(replied && { values: replied }) };
}

/** The entries of a matrix that lies column by column, row by row; or the other way round with the sides exchanged. */
export const byRows = (
  matrix: ArrayLike<number>,
  { outputs, inputs }: Pick<LowRankPair, "outputs" | "inputs">,
): number[] =>
  Array.from({ length: outputs * inputs }, (_, i) => matrix[(i % inputs) * outputs + Math.floor(i / inputs)]!);

export const byColumns = (
  matrix: ArrayLike<number>,
  { outputs, inputs }: Pick<LowRankPair, "outputs" | "inputs">,
): number[] => byRows(matrix, { outputs: inputs, inputs: outputs });
