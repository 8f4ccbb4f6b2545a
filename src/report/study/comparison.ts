/**
 * What a study says: a row for each method under each condition, from the same seeds; every difference from the method that
 * others are held against, and from the same method in the same world without dropout or attackers; and who comes first.
 */
import { mean, sampleStandardDeviation } from "simple-statistics";
import { InputError } from "../../base/errors.ts";
import { strategies } from "../../fl/strategies/registry.ts";
import { failureOf, type Target } from "../../study/cell.ts";
import type { AxisFacts, Coordinate } from "../../study/matrix/plan.ts";
import type { StudyCell, StudyRecord } from "../../study/study.ts";
import { factsOf, type TaskFacts } from "../../tasks/facts.ts";
import { fewest } from "../statistics/intervals.ts";
import { criticalDifference, holm, type PairedTest, pairedTest, ranksOf } from "../statistics/tests.ts";
import { type Measure, type MeasureTable, measureTables, type StudyRun } from "./measures.ts";
import { plotted } from "./plots.ts";

/** A method under one condition. */
export interface Group {
  readonly method: string;
  /** Null where there is one condition. */
  readonly condition: string | null;
  readonly at: Readonly<Record<string, Coordinate>>;
  /** Ascending by seed. */
  readonly runs: readonly StudyRun[];
}

/** What is known of one group and one measure. */
export interface Entry {
  readonly group: Group;
  /** Null where a run has nothing to say, or no finite number. */
  readonly values: readonly (number | null)[];
  readonly mean: number | null;
  /** Sample standard deviation over seeds; null for fewer than three. */
  readonly deviation: number | null;
  readonly count: number;
  /** The best mean of its condition, to the digits that are shown, of those with a value for every run. */
  readonly isBest: boolean;
}

export interface Column {
  readonly measure: Measure;
  readonly entries: readonly Entry[];
}

export interface Table extends Pick<MeasureTable, "id" | "title" | "note"> {
  readonly columns: readonly Column[];
}

type Verdict = "better" | "worse" | "no difference seen" | "too few seeds";

/** Two groups that differ in one thing, seed by seed. */
export interface Contrast {
  readonly group: Group;
  readonly against: Group;
  /** What the other is where they differ: another method, or the same at `dropout 0 %`. */
  readonly other: string;
  readonly isMethod: boolean;
  /** Of differences; of a measure above 0 that is a time, of logarithms. Null for too few seeds. */
  readonly test: PairedTest | null;
  /** Seeds that both have, and those of them where one has failed. */
  readonly pairs: number;
  readonly failed: number;
  /** p, corrected for all contrasts of the study. */
  readonly adjusted: number | null;
  readonly verdict: Verdict;
}

/** Mean ranks over seeds, of the measure that is compared. */
interface Ranks {
  readonly methods: readonly { readonly method: string; readonly rank: number }[];
  readonly seeds: number;
  readonly critical: number;
}

/** A method that is not as its source has it, and why. */
interface Mark {
  readonly method: string;
  readonly certainty: string;
}

export interface Comparison {
  readonly record: StudyRecord;
  readonly task: TaskFacts;
  readonly axes: readonly AxisFacts[];
  readonly against: string;
  readonly methods: readonly string[];
  readonly conditions: readonly (string | null)[];
  readonly seeds: readonly number[];
  /** Largest first; none without training. */
  readonly budgets: readonly number[];
  readonly groups: readonly Group[];
  readonly tables: readonly Table[];
  /** What contrasts and ranks are about. */
  readonly compared: Measure;
  readonly contrasts: readonly Contrast[];
  /** Null for fewer than five methods, or seeds that have not all of them. */
  readonly ranks: Ranks | null;
  readonly failed: readonly StudyCell[];
  readonly marks: readonly Mark[];
  /** Measures to be plotted against each other. */
  readonly pairs: readonly (readonly [x: Measure, y: Measure])[];
}

/** Below this an adjusted p counts as a difference. */
export const level = 0.05;

interface Question {
  /** The method that others are held against. */
  readonly against: string;
  readonly target: Target | null;
  /** `bytes:loss-mean`: one measure against another. */
  readonly pairs: readonly string[];
}

/** @throws InputError when no cell is done; ScenarioError for a plot of what is not measured */
export function comparisonOf(record: StudyRecord, { against, target, pairs }: Question): Comparison {
  const groups = groupsOf(record.cells);
  if (groups.length === 0) throw new InputError("the study has no finished run to report");
  const runs = groups.flatMap((group) => group.runs);
  const task = factsOf(record.task);
  const budgets = unique(runs.flatMap(({ cell }) => cell.evaluations.map(({ budget }) => budget))).sort(
    (a, b) => b - a,
  );
  const tiers = unique(runs.flatMap(({ cell }) => cell.fairness?.tiers.map(({ tier }) => tier) ?? []));
  const tables = measureTables({ runs, budgets, tiers, target, task });
  const measured = budgets.length === 0 ? "round-time" : "loss-mean";
  const compared = tables.flatMap((table) => table.measures).find(({ id }) => id === measured)!;
  const methods = unique(groups.map(({ method }) => method));
  const usual = budgets.length === 0 ? [] : ["bytes:loss-mean"];
  return {
    record,
    task,
    axes: record.axes,
    against,
    methods,
    conditions: unique(groups.map(({ condition }) => condition)),
    seeds: unique(runs.map(({ seed }) => seed)).sort((a, b) => a - b),
    budgets,
    groups,
    tables: tables.map(({ measures: own, ...rest }) => ({
      ...rest,
      columns: own.map((measure) => ({ measure, entries: entriesOf(measure, groups) })),
    })),
    compared,
    contrasts: contrastsOf(groups, against, compared),
    ranks: ranksIn(groups, methods, compared),
    failed: record.cells.filter(({ result }) => result !== null && failureOf(result.cell) !== null),
    marks: marksOf(record),
    pairs: plotted(pairs.length > 0 ? pairs : usual, tables),
  };
}

const unique = <Item>(items: readonly Item[]): Item[] => [...new Set(items)];

/** All methods of a condition together, conditions and methods in the order of the plan. */
function groupsOf(cells: readonly StudyCell[]): Group[] {
  const groups = new Map<string, Group & { runs: StudyRun[] }>();
  const conditions = unique(cells.map(({ condition }) => condition));
  for (const condition of conditions) {
    for (const { method, condition: own, at, seed, result } of cells) {
      if (own !== condition || result === null) continue;
      const key = JSON.stringify([method, condition]);
      const group = groups.get(key) ?? { method, condition, at, runs: [] };
      group.runs.push({ seed, cell: result.cell, curve: result.curve });
      groups.set(key, group);
    }
  }
  for (const { runs } of groups.values()) runs.sort((a, b) => a.seed - b.seed);
  return [...groups.values()];
}

/** A number that a mean can be made of. */
export function finiteOf({ of }: Measure, run: StudyRun): number | null {
  const value = of(run);
  return value !== null && Number.isFinite(value) ? value : null;
}

function entriesOf(measure: Measure, groups: readonly Group[]): Entry[] {
  const entries = groups.map((group) => {
    const values = group.runs.map((run) => finiteOf(measure, run));
    const finite = values.filter((value) => value !== null);
    return {
      group,
      values,
      mean: finite.length === 0 ? null : mean(finite),
      deviation: finite.length < fewest ? null : sampleStandardDeviation(finite),
      count: finite.length,
    };
  });
  return entries.map((entry) => {
    const rivals = entries.filter(({ group }) => group.condition === entry.group.condition);
    return { ...entry, isBest: isBest(entry, rivals, measure) };
  });
}

type Rival = Omit<Entry, "isBest">;

/** Is it, to the digits that are shown, the best, and not all that there is? */
function isBest(own: Rival, rivals: readonly Rival[], { better, write }: Measure): boolean {
  const whole = rivals.flatMap(({ mean: found, count, values }) =>
    found !== null && count === values.length ? [found] : [],
  );
  if (better === null || whole.length === 0 || own.mean === null || own.count < own.values.length) return false;
  const best = write(Math[better === "low" ? "min" : "max"](...whole));
  return write(own.mean) === best && rivals.some((rival) => rival.mean === null || write(rival.mean) !== best);
}

/** Where dropout and attackers are none. */
const calm = (axis: string, { label, value }: Coordinate): boolean =>
  (axis === "dropout" && value === 0) || (axis === "attackers" && label === "none");

function contrastsOf(groups: readonly Group[], against: string, measure: Measure): Contrast[] {
  const pairs: Pick<Contrast, "group" | "against" | "other" | "isMethod">[] = [];
  for (const group of groups) {
    const base = groups.find(({ method, condition }) => method === against && condition === group.condition);
    if (base !== undefined && group.method !== against)
      pairs.push({ group, against: base, other: against, isMethod: true });
  }
  for (const group of groups) {
    for (const [axis, own] of Object.entries(group.at)) {
      if (calm(axis, own)) continue;
      const base = groups.find(({ method, at }) => {
        const isElsewhere = at[axis] !== undefined && calm(axis, at[axis]);
        const others = Object.entries(group.at).filter(([other]) => other !== axis);
        return (
          method === group.method && isElsewhere && others.every(([other, { label }]) => at[other]?.label === label)
        );
      });
      if (base !== undefined) pairs.push({ group, against: base, other: base.at[axis]!.label, isMethod: false });
    }
  }
  const tested = pairs.map((pair) => ({ ...pair, ...paired(pair.group, pair.against, measure) }));
  const adjusted = holm(tested.flatMap(({ test }) => (test === null ? [] : [test.p])));
  return tested.map((found) => {
    const p = found.test === null ? null : adjusted.shift()!;
    return { ...found, adjusted: p, verdict: verdictOf(found.test, p, measure) };
  });
}

/** Times are compared as ratios: an hour more means little to who takes days. */
export const isRatio = ({ unit }: Measure): boolean => unit === "time";

function paired(group: Group, against: Group, measure: Measure) {
  const base = new Map(against.runs.map((run) => [run.seed, run]));
  const scale = (value: number): number => (isRatio(measure) ? Math.log(value) : value);
  const both = group.runs.flatMap((run) => {
    const other = base.get(run.seed);
    return other === undefined ? [] : [[finiteOf(measure, run), finiteOf(measure, other)] as const];
  });
  const differences = both.flatMap(([own, other]) =>
    own === null || other === null ? [] : [scale(own) - scale(other)],
  );
  return { test: pairedTest(differences), pairs: both.length, failed: both.length - differences.length };
}

function verdictOf(test: PairedTest | null, adjusted: number | null, { better }: Measure): Verdict {
  if (test === null || adjusted === null) return "too few seeds";
  if (adjusted >= level) return "no difference seen";
  return test.mean < 0 === (better !== "high") ? "better" : "worse";
}

/** In the mean over conditions first: those of one seed share its luck, and are no seeds of their own. */
function ranksIn(groups: readonly Group[], methods: readonly string[], measure: Measure): Ranks | null {
  if (methods.length <= 4) return null;
  const conditions = unique(groups.map(({ condition }) => condition));
  const seeds = unique(groups.flatMap(({ runs }) => runs.map(({ seed }) => seed)));
  const sign = measure.better === "high" ? -1 : 1;
  const bySeed = seeds.flatMap((seed) => {
    const ranks = conditions.flatMap((condition) => {
      const runs = methods.map((name) =>
        groups
          .find((group) => group.method === name && group.condition === condition)
          ?.runs.find((run) => run.seed === seed),
      );
      if (runs.includes(undefined)) return [];
      // A run that failed comes last.
      return [ranksOf(runs.map((run) => sign * (finiteOf(measure, run!) ?? Number.NaN)))];
    });
    return ranks.length < conditions.length ? [] : [methods.map((_, at) => mean(ranks.map((row) => row[at]!)))];
  });
  if (bySeed.length < fewest) return null;
  return {
    methods: methods
      .map((method, at) => ({ method, rank: mean(bySeed.map((row) => row[at]!)) }))
      .sort((a, b) => a.rank - b.rank),
    seeds: bySeed.length,
    critical: criticalDifference(methods.length, bySeed.length),
  };
}

/** Methods that are not as their source has them. */
function marksOf({ cells }: StudyRecord): Mark[] {
  const marks = cells.map(({ method, strategy }): [string, string] => [
    method,
    strategies.entries.get(strategy)?.about.certainty ?? "as published",
  ]);
  return [...new Map(marks)]
    .filter(([, certainty]) => certainty !== "as published")
    .map(([method, certainty]) => ({ method, certainty }));
}
