/** Some of many combinations. The choice is keyed by the axes alone: the same for any seeds, strategies and machine. */
import { ScenarioError } from "../../base/errors.ts";
import { Rng } from "../../base/random.ts";
import type { Sample } from "./planned.ts";

/**
 * `random`: every combination is as likely, and a larger sample holds a smaller one. `latin`: a Latin hypercube, in which
 * every level of an axis comes up equally often, give or take one.
 *
 * McKay, Beckman, Conover, "A comparison of three methods for selecting values of input variables", Technometrics 21, 1979.
 *
 * @param all combinations, the last axis fastest
 * @param sizes how many levels each axis has
 */
export function sampled<Item>(all: readonly Item[], sample: Sample | null, sizes: readonly number[]): readonly Item[] {
  if (sample === null) return all;
  const { count, by } = sample;
  if (count > all.length)
    throw new ScenarioError(`a sample of ${count} is asked for, but --vary has ${all.length} combinations`);
  const lane = new Rng(0).at(`study: ${by}`);
  const chosen = by === "random" ? lane.at(0).shuffle(all.map((_, at) => at)) : hypercube(sizes, count);
  return chosen.slice(0, count).map((at) => all[at]!);
}

/** So many exchanges for each combination are tried; halves of a grid take about one. */
const patience = 1_000;

/**
 * Columns that hold every level equally often, in random order; where two rows are the same, levels of one are exchanged with
 * those of others until all differ. A grid that leaves no other way is filled up at random.
 */
function hypercube(sizes: readonly number[], count: number): number[] {
  const rng = new Rng(0);
  const all = sizes.reduce((product, size) => product * size, 1);
  const columns = sizes.map((size, axis) =>
    rng
      .at("study: latin")
      .at(axis)
      .shuffle(Array.from({ length: count }, (_, at) => Math.floor((at * size) / count))),
  );
  const rowAt = (row: number): number => sizes.reduce((index, size, axis) => index * size + columns[axis]![row]!, 0);
  const times = new Map<number, number>();
  const note = (row: number, by: number): void => {
    const found = rowAt(row);
    times.set(found, (times.get(found) ?? 0) + by);
  };
  const repeats = (row: number): number => times.get(rowAt(row))! - 1;
  for (let row = 0; row < count; row++) note(row, 1);
  const draws = rng.at("study: exchange").at(0);
  for (let left = patience * count; left > 0; left--) {
    const row = Array.from({ length: count }, (_, at) => at).find((at) => repeats(at) > 0);
    if (row === undefined) break;
    const other = draws.below(count);
    const column = columns[draws.below(sizes.length)]!;
    const exchange = (): void => {
      for (const at of [row, other]) note(at, -1);
      [column[row], column[other]] = [column[other]!, column[row]!];
      for (const at of [row, other]) note(at, 1);
    };
    const before = repeats(row) + repeats(other);
    if (row === other) continue;
    exchange();
    if (repeats(row) + repeats(other) > before) exchange();
  }
  const chosen = new Set(Array.from({ length: count }, (_, row) => rowAt(row)));
  const rest = draws.shuffle(Array.from({ length: all }, (_, at) => at));
  return [...chosen, ...rest.filter((at) => !chosen.has(at))];
}
