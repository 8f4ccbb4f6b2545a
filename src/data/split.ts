/**
 * The held-out split. An example's side follows from a hash of its question, so it stays where it is when the file is
 * shuffled, and a question asked twice is never on both sides. Examples may come with a side of their own.
 *
 * Where questions have many examples, the side of a few would decide how many are held out. When the number is off by
 * more than three standard deviations of independent examples, or by one where the question of an average example has
 * two answers, questions are taken in the order of their hashes as long as they fit.
 */
import * as z from "zod";
import { ScenarioError } from "../base/errors.ts";
import { parseSpec } from "../base/problem.ts";
import type { Examples } from "./examples.ts";

const splitSchema = z.strictObject({
  /** Share of the examples when below 1, else their number. */
  heldOut: z
    .number()
    .positive()
    .refine((value) => value < 1 || Number.isInteger(value), "a share below 1 or a whole number of examples")
    .default(0.1),
  /** Held-out examples that evaluations use, spread over categories in proportion. */
  evaluationExamples: z.number().int().positive().default(256),
});

export type SplitOptions = Readonly<z.input<typeof splitSchema>>;

/** Example numbers, each list ascending. */
export interface Split {
  readonly train: Uint32Array;
  readonly heldOut: Uint32Array;
  /** The part of `heldOut` that evaluations use. */
  readonly evaluation: Uint32Array;
  /** Says so when questions with many examples keep the number away from what was asked for. */
  readonly notes: readonly string[];
}

export function split(data: Examples, options: SplitOptions = {}): Split {
  const { heldOut: wanted, evaluationExamples } = parseSpec("data", splitSchema, options);
  if (data.examples < 2) throw new ScenarioError(`data has ${data.examples} examples, expected at least 2 to split`);
  const hashes = Float64Array.from(data.questionHash).sort();
  // At least one question is held out, whatever the share; a count takes the questions with the smallest hashes.
  const count = Math.min(Math.max(wanted < 1 ? Math.round(wanted * data.examples) : wanted, 1), data.examples);
  const threshold = wanted < 1 ? Math.max(wanted, next(hashes[0]!)) : next(hashes[count - 1]!);
  const below = hashes.findIndex((hash) => hash >= threshold);
  const sizes = questionSizes(hashes);
  const answers = [...sizes.values()].reduce((sum, size) => sum + size ** 2, 0) / data.examples;
  const tolerance = wanted < 1 ? (answers < 2 ? 3 : 1) * Math.sqrt(count) : 0;
  const isUneven = count < data.examples && Math.abs((below < 0 ? data.examples : below) - count) > tolerance;
  const fitting = isUneven ? fittingQuestions(sizes, count) : null;
  const isBelow = (hash: number): boolean => (fitting === null ? hash < threshold : fitting.has(hash));
  const isHeldOut = (e: number): boolean => (data.heldOut ? data.heldOut[e] === 1 : isBelow(data.questionHash[e]!));
  const train: number[] = [];
  const heldOut: number[] = [];
  for (let e = 0; e < data.examples; e++) (isHeldOut(e) ? heldOut : train).push(e);
  if (train.length === 0) {
    throw new ScenarioError(
      `data.heldOut is ${wanted}, which leaves none of ${data.examples} examples for training; expected less`,
    );
  }
  return {
    train: Uint32Array.from(train),
    heldOut: Uint32Array.from(heldOut),
    evaluation: stratified(data, heldOut, evaluationExamples),
    notes:
      isUneven && !data.heldOut && (heldOut.length !== count || (wanted < 1 && answers >= 2))
        ? [unevenNote(sizes, data.examples, heldOut.length, count)]
        : [],
  };
}

function unevenNote(sizes: Map<number, number>, examples: number, heldOut: number, count: number): string {
  const largest = [...sizes.values()].reduce((most, size) => Math.max(most, size));
  return (
    `${heldOut} of ${examples} examples are held out, and data.heldOut asks for ${count}: examples of one question ` +
    `stay together, and one question has ${largest}`
  );
}

/** In the order of hashes. */
function questionSizes(hashes: Float64Array): Map<number, number> {
  const sizes = new Map<number, number>();
  for (const hash of hashes) sizes.set(hash, (sizes.get(hash) ?? 0) + 1);
  return sizes;
}

/** Hashes of questions in ascending order, each that still fits; the smallest question when none does. */
function fittingQuestions(sizes: Map<number, number>, count: number): Set<number> {
  const fitting = new Set<number>();
  let left = count;
  for (const [hash, size] of sizes) {
    if (size > left) continue;
    fitting.add(hash);
    left -= size;
  }
  if (fitting.size > 0) return fitting;
  if (sizes.size === 1) {
    throw new ScenarioError(
      `data: all ${[...sizes.values()][0]} examples ask the same question, so none can be held out while others are trained on`,
    );
  }
  return new Set([[...sizes].reduce((least, one) => (one[1] < least[1] ? one : least))[0]]);
}

/** The next larger hash: hashes are multiples of 2⁻⁴⁸. */
const next = (hash: number): number => hash + 2 ** -48;

/** At most `cap` of `examples`, each category by its share (largest remainder), within a category by hash. */
function stratified(data: Examples, examples: readonly number[], cap: number): Uint32Array {
  if (examples.length <= cap) return Uint32Array.from(examples);
  const groups = data.categoryNames.map((): number[] => []);
  for (const e of examples) groups[data.category[e]!]!.push(e);
  const shares = groups.map((group) => (cap * group.length) / examples.length);
  const counts = shares.map(Math.floor);
  const byRemainder = shares
    .map((share, row) => ({ row, remainder: share - Math.floor(share) }))
    .sort((a, b) => b.remainder - a.remainder || a.row - b.row);
  let missing = cap - counts.reduce((sum, count) => sum + count, 0);
  for (const { row } of byRemainder) {
    if (missing-- <= 0) break;
    counts[row]!++;
  }
  const chosen = groups.flatMap((group, row) =>
    group.sort((a, b) => data.questionHash[a]! - data.questionHash[b]! || a - b).slice(0, counts[row]),
  );
  return Uint32Array.from(chosen).sort();
}
