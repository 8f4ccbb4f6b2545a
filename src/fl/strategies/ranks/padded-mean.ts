/**
 * The weighted mean of factors of different ranks, each padded with zeros to the full one, pair by pair:
 *
 *   θ ← (1 − m)·θ + Σ w_k·Δ_k ÷ Σ w_k         m the share of weight without this component, w_k of a client's pair
 *
 * which is Σ w_k·pad(v_k) ÷ Σ w_k, and the plain mean of deltas, bit for bit, where everybody has the component.
 */
import type { LowRankPair, ParameterLayout } from "../../../tasks/layout.ts";
import { emptyMean, foldMean, moved, type WeightedMean } from "../../averaging.ts";
import { hasTrained, type Update } from "../../update.ts";

export interface PaddedMean {
  /** Its groups are pairs. */
  readonly mean: WeightedMean;
  /** m, `[pairs, rank]` */
  readonly missing: readonly Float64Array[];
}

/** What becomes of a component for which padding stands in. */
export type TailPolicy = "zero" | "keep" | "renormalise";

export const emptyPadded = (layout: ParameterLayout): PaddedMean => ({
  mean: emptyMean(byPairs(layout)),
  missing: layout.pairs.map(({ rank }) => new Float64Array(rank)),
});

/**
 * @param rank components that the update has
 * @param weightOf of a pair that the client trained, before any discount
 * @param scale what its factors are multiplied by
 */
export function foldPadded(
  { mean, missing }: PaddedMean,
  update: Update,
  layout: ParameterLayout,
  discounts: "damp" | "reweigh",
  { rank, weightOf, scale = 1 }: { rank: number; weightOf: (pair: number) => number; scale?: number },
): void {
  const before = mean.weight.slice();
  const trained = Uint8Array.from(layout.pairs, ({ group }) => (hasTrained(update, group) ? 1 : 0));
  foldMean(mean, { ...update, trained }, byPairs(layout), discounts, (_, pair) => weightOf(pair), scale);
  const factor = discounts === "damp" ? update.discount : 1;
  for (const [pair, shares] of missing.entries()) {
    const total = mean.weight[pair]!;
    if (total === before[pair]) continue;
    const share = (total - before[pair]!) / total;
    for (let q = 0; q < shares.length; q++) {
      shares[q]! += share * ((trained[pair] === 1 && q >= rank ? factor : 0) - shares[q]!);
    }
  }
}

export function padded(
  { mean, missing }: PaddedMean,
  parameters: Float32Array,
  layout: ParameterLayout,
  tail: TailPolicy,
): Float32Array {
  return moved(mean, parameters, byPairs(layout), (i, delta, pair) => {
    const absent = missing[pair]![componentOf(layout.pairs[pair]!, i)]!;
    if (absent === 0) return delta;
    if (tail === "renormalise") return absent < 1 ? delta / (1 - absent) : 0;
    return tail === "keep" && absent === 1 ? 0 : delta - absent * parameters[i]!;
  });
}

/** Which component parameter `i` of a pair belongs to. */
function componentOf({ rank, inputs, a, b }: LowRankPair, i: number): number {
  return i >= a && i < a + rank * inputs ? Math.floor((i - a) / inputs) : (i - b) % rank;
}

/** A group for each pair. */
function byPairs({ size, pairs }: ParameterLayout): ParameterLayout {
  const known = pairLayouts.get(pairs);
  if (known !== undefined) return known;
  const groups = pairs.map(({ a, b, rank, inputs, outputs }, pair) => ({
    name: `pair ${pair}`,
    ranges: [
      { start: a, end: a + rank * inputs },
      { start: b, end: b + rank * outputs },
    ],
  }));
  const layout = { size, groups, pairs };
  pairLayouts.set(pairs, layout);
  return layout;
}

const pairLayouts = new WeakMap<readonly LowRankPair[], ParameterLayout>();
