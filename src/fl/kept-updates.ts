/**
 * What the robust strategies have in common: they look at all updates at once, so the sum is the list of them.
 *
 * Rules run expert by expert over the clients that trained it, so an attack on one expert cannot hide among the others
 * and a rarely used expert is not outvoted by clients that never touched it. Clients' claims about their number of
 * examples are ignored. LoRA A and B are bounded separately, which does not bound their product.
 */
import * as z from "zod";
import type { ParameterLayout } from "../tasks/layout.ts";
import { addDelta } from "./averaging.ts";
import type { Aggregation, ServerState } from "./strategy.ts";
import { hasTrained, type Update } from "./update.ts";

export const minTrainersField = {
  minTrainers: z.int().min(1).default(1).describe("an expert that fewer clients trained keeps its values"),
};

/** Writes what `trainers` agree on for one group into `delta`. */
type GroupRule = (trainers: readonly Update[], group: number, layout: ParameterLayout, delta: Float64Array) => void;

type Finish = (kept: readonly Update[], server: ServerState, layout: ParameterLayout) => ServerState;

/** A method that keeps the updates until the round ends. Nothing changes where there are fewer than `least`. */
export const keeping = (least: number, finish: Finish): Aggregation<Update[]> => ({
  folding: "all",
  /** Who takes part; what each part weighs in the end is decided coordinate by coordinate or by selection. */
  weight: (update, group) => (hasTrained(update, group) ? update.discount : 0),
  begin: () => [],
  fold: (kept, update) => void kept.push(update),
  finish: (kept, server, { layout }) => (kept.length < least ? server : finish(kept, server, layout)),
});

/** Applies `rule` to each group that at least `minTrainers` clients trained. */
export const perGroup = (minTrainers: number, rule: GroupRule): Aggregation<Update[]> =>
  keeping(1, (kept, server, layout) => {
    const parameters = server.parameters.slice();
    const delta = new Float64Array(layout.size);
    for (const [group, { ranges }] of layout.groups.entries()) {
      const trainers = kept.filter((update) => hasTrained(update, group));
      if (trainers.length < minTrainers) continue;
      rule(trainers, group, layout, delta);
      addDelta(parameters, delta, ranges);
    }
    return { ...server, parameters };
  });

/** What the delta is multiplied by before any rule sees it. */
export const deltaFactor = ({ discount, clip = 1 }: Update): number => discount * clip;

/** Runs an order statistic over every coordinate of one group: `choose` gets the trainers' deltas in ascending order. */
export function eachCoordinate(
  trainers: readonly Update[],
  group: number,
  { groups }: ParameterLayout,
  delta: Float64Array,
  choose: (sorted: Float64Array) => number,
): void {
  const sorted = new Float64Array(trainers.length);
  const factors = trainers.map(deltaFactor);
  for (const { start, end } of groups[group]!.ranges) {
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
