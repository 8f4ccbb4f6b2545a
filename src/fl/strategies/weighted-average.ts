/**
 * The weighted average of deltas per expert that FedAvg, FLAME and the server optimizers share.
 *
 *   mean_j ← mean_j + (w_ij / W_j) · (c_i·Δ_ij − mean_j),   W_j ← W_j + w_ij
 *
 * The running form divides nothing at the end, so one update, or many identical ones, come out bit for bit; and it
 * never holds a large sum from which small ones would lose digits. c_i = discount · clip shrinks an update's delta.
 */
import { z } from "zod";
import type { AdapterLayout, Range } from "../../model/adapter.ts";
import type { GlobalState, StrategyBehaviour } from "../strategy.ts";
import { hasTrained, type Update } from "../update.ts";

export interface WeightedMean {
  /** Mean delta of every adapter element. */
  readonly delta: Float64Array;
  /** W_j, the weight folded into each expert's mean. */
  readonly weight: Float64Array;
  /** Updates that trained each expert. */
  readonly trainers: Uint32Array;
  updates: number;
}

export const discountField = {
  /**
   * What a discount below 1 does. `damp`: the update moves the adapter less, the others no more (FedBuff's division by
   * the buffer size). `reweigh`: the others make up for it, as in any weighted mean.
   */
  discounts: z.enum(["damp", "reweigh"]).default("damp"),
};

export const averagingFields = {
  /** n_i examples, or every client alike. */
  weighting: z.enum(["examples", "uniform"]).default("examples"),
  /**
   * A client that did not train an expert counts as unchanged (`dilute`, what FedAvg does with whole models) or not at
   * all (`renormalise`).
   */
  absentPolicy: z.enum(["renormalise", "dilute"]).default("dilute"),
  ...discountField,
};

type AveragingOptions = z.output<z.ZodObject<typeof averagingFields>>;

type WeightOf = (update: Update, expert: number) => number;

/** A strategy that adds the weighted mean; `weightOf` gives an update's weight for an expert before any discount. */
export const averaging = (discounts: "damp" | "reweigh", weightOf: WeightOf): StrategyBehaviour<WeightedMean> => ({
  weight: (update, expert) => weightOf(update, expert) * update.discount,
  init: emptyMean,
  accumulate: (sum, update, layout) => accumulateMean(sum, update, layout, discounts, weightOf),
  finish: (sum, state, layout) =>
    sum.updates === 0 ? state : { ...state, adapter: moved(sum, state, layout, (_, mean) => mean) },
});

/** The same with the weights of the {@link averagingFields}. */
export const averagingBy = ({
  weighting,
  absentPolicy,
  discounts,
}: AveragingOptions): StrategyBehaviour<WeightedMean> =>
  averaging(discounts, (update, expert) => {
    if (absentPolicy === "renormalise" && !hasTrained(update, expert)) return 0;
    return weighting === "examples" ? update.examples : 1;
  });

const emptyMean = (layout: AdapterLayout): WeightedMean => ({
  delta: new Float64Array(layout.size),
  weight: new Float64Array(layout.layers * layout.experts),
  trainers: new Uint32Array(layout.layers * layout.experts),
  updates: 0,
});

/** Folds one update into the mean. */
function accumulateMean(
  sum: WeightedMean,
  update: Update,
  layout: AdapterLayout,
  discounts: "damp" | "reweigh",
  weightOf: WeightOf,
): void {
  const clip = update.clip ?? 1;
  const weightFactor = discounts === "reweigh" ? update.discount : 1;
  const deltaFactor = discounts === "damp" ? update.discount * clip : clip;
  sum.updates++;
  for (let expert = 0; expert < sum.weight.length; expert++) {
    const trained = hasTrained(update, expert);
    const weight = weightOf(update, expert) * weightFactor;
    if (trained) sum.trainers[expert]!++;
    if (weight === 0) continue;
    const total = sum.weight[expert]! + weight;
    sum.weight[expert] = total;
    fold(sum.delta, update, layout.ranges(expert), weight / total, trained ? deltaFactor : 0);
  }
}

function fold(mean: Float64Array, { values, base }: Update, ranges: readonly Range[], share: number, factor: number) {
  for (const { start, end } of ranges) {
    for (let i = start; i < end; i++) {
      const before = mean[i]!;
      mean[i] = before + share * (factor * (values[i]! - base[i]!) - before);
    }
  }
}

/**
 * θ_i ← θ_i + step(i, mean_i), in float64, for the elements of every expert that someone trained and that has weight. The
 * others keep their values bit for bit and see no step: old momentum would carry them further.
 */
export function moved(
  { delta, weight, trainers }: WeightedMean,
  { adapter }: GlobalState,
  layout: AdapterLayout,
  step: (i: number, mean: number) => number,
): Float32Array {
  const next = adapter.slice();
  for (let expert = 0; expert < weight.length; expert++) {
    if (trainers[expert] === 0 || weight[expert] === 0) continue;
    for (const { start, end } of layout.ranges(expert)) {
      for (let i = start; i < end; i++) {
        const change = step(i, delta[i]!);
        // A zero leaves the value as it is, the sign of a zero included.
        if (change !== 0) next[i] = next[i]! + change;
      }
    }
  }
  return next;
}

/** Adds in float64 and rounds once. A zero delta leaves the value as it is, the sign of a zero included. */
export function addDelta(adapter: Float32Array, delta: Float64Array, ranges: readonly Range[]): void {
  for (const { start, end } of ranges) {
    for (let i = start; i < end; i++) {
      const change = delta[i]!;
      if (change !== 0) adapter[i] = adapter[i]! + change;
    }
  }
}
