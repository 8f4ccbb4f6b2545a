/**
 * What the robust strategies have in common: they look at all updates at once, so the sum is the list of them.
 *
 * Rules run expert by expert over the clients that trained it, so an attack on one expert cannot hide among the others
 * and a rarely used expert is not outvoted by clients that never touched it. Clients' claims about their number of
 * examples are ignored. LoRA A and B are bounded separately, which does not bound their product.
 */
import { z } from "zod";
import type { AdapterLayout } from "../../model/adapter.ts";
import type { StrategyBehaviour } from "../strategy.ts";
import { hasTrained, type Update } from "../update.ts";
import { addDelta } from "./weighted-average.ts";

export const minTrainersField = {
  /** An expert that fewer clients trained keeps its values. */
  minTrainers: z.int().min(1).default(1),
};

/** Writes what `trainers` agree on for one expert into `delta`. */
type ExpertRule = (trainers: readonly Update[], expert: number, layout: AdapterLayout, delta: Float64Array) => void;

/** A strategy that keeps the updates until the round ends. Nothing changes where there are fewer than `least`. */
export const keeping = (least: number, finish: StrategyBehaviour<Update[]>["finish"]): StrategyBehaviour<Update[]> => ({
  /** Who takes part; what each part weighs in the end is decided coordinate by coordinate or by selection. */
  weight: (update, expert) => (hasTrained(update, expert) ? update.discount : 0),
  init: () => [],
  accumulate: (kept, update) => void kept.push(update),
  finish: (kept, state, layout) => (kept.length < least ? state : finish(kept, state, layout)),
});

/** Applies `rule` to each expert that at least `minTrainers` clients trained. */
export const perExpert = (minTrainers: number, rule: ExpertRule): StrategyBehaviour<Update[]> =>
  keeping(1, (kept, state, layout) => {
    const adapter = state.adapter.slice();
    const delta = new Float64Array(layout.size);
    for (let expert = 0; expert < layout.layers * layout.experts; expert++) {
      const trainers = kept.filter((update) => hasTrained(update, expert));
      if (trainers.length < minTrainers) continue;
      rule(trainers, expert, layout, delta);
      addDelta(adapter, delta, layout.ranges(expert));
    }
    return { ...state, adapter };
  });

/** What the delta is multiplied by before any rule sees it. */
export const deltaFactor = ({ discount, clip = 1 }: Update): number => discount * clip;

/** Runs an order statistic over every coordinate of one expert: `choose` gets the trainers' deltas in ascending order. */
export function eachCoordinate(
  trainers: readonly Update[],
  expert: number,
  layout: AdapterLayout,
  delta: Float64Array,
  choose: (sorted: Float64Array) => number,
): void {
  const sorted = new Float64Array(trainers.length);
  const factors = trainers.map(deltaFactor);
  for (const { start, end } of layout.ranges(expert)) {
    for (let i = start; i < end; i++) {
      for (let k = 0; k < trainers.length; k++) {
        const { values, base } = trainers[k]!;
        insert(sorted, k, factors[k]! * (values[i]! - base[i]!));
      }
      delta[i] = choose(sorted);
    }
  }
}

/** Insertion sort, one element at a time: cohorts are small, and a call to `sort` per coordinate costs more. */
function insert(sorted: Float64Array, length: number, value: number): void {
  let at = length;
  while (at > 0 && sorted[at - 1]! > value) {
    sorted[at] = sorted[at - 1]!;
    at--;
  }
  sorted[at] = value;
}

/** The mean of `sorted[from…to−1]`, in running form so that equal numbers have exactly themselves as mean. */
export function meanOf(sorted: Float64Array, from: number, to: number): number {
  let mean = 0;
  for (let k = from; k < to; k++) mean += (sorted[k]! - mean) / (k - from + 1);
  return mean;
}
