/**
 * Methods side by side, as a paper has them: a row for each, a column for each budget and for their mean, all from the
 * same seeds, with a paired test against one of them.
 */
import { mean, sampleStandardDeviation } from "simple-statistics";
import { formatBytes, formatTime } from "../base/units.ts";
import { type Cell, lossAt, reachedAt, type Target } from "../study/cell.ts";
import type { StoredCell } from "../study/stored-cell.ts";
import { budgetIn, type Metric, type TaskFacts } from "../tasks/facts.ts";
import { holm, type PairedTest, pairedTest } from "./confidence.ts";

/** A finished cell under the name of its method, with how it went on the way there. */
export type ComparedCell = Cell & Pick<StoredCell, "curve">;

export interface Method {
  readonly name: string;
  /** Ascending by seed. */
  readonly cells: readonly ComparedCell[];
}

/** What is known of one method and one column. */
export interface Entry {
  readonly method: string;
  /** Null where a run has nothing to say, such as a target it never met. */
  readonly runs: readonly { readonly seed: number; readonly value: number | null }[];
  /** Null without a finite value. */
  readonly mean: number | null;
  /** Sample standard deviation over seeds; null for a single one. */
  readonly deviation: number | null;
  /** Finite values. */
  readonly count: number;
}

export interface Column {
  readonly id: string;
  readonly title: string;
  readonly entries: readonly Entry[];
  /** The best mean of those that have a value for every run; null where no side is better. */
  readonly best: number | null;
  readonly write: (value: number) => string;
}

export interface Table {
  readonly id: string;
  readonly title: string;
  readonly note: string;
  readonly columns: readonly Column[];
}

type Verdict = "better" | "worse" | "no difference seen" | "too few seeds";

/** Of held-out loss in the mean over budgets, seed by seed. */
export interface Contrast {
  readonly method: string;
  /** Negative where the method is better than the one it is held against. Null for too few seeds. */
  readonly test: PairedTest | null;
  /** p, corrected for all contrasts. */
  readonly adjusted: number | null;
  readonly verdict: Verdict;
}

/** A method that is not as its source has it, and why. */
export interface Mark {
  readonly method: string;
  readonly certainty: string;
}

export interface Comparison {
  readonly marks: readonly Mark[];
  readonly against: string;
  readonly methods: readonly Method[];
  readonly seeds: readonly number[];
  /** Largest first. */
  readonly budgets: readonly number[];
  readonly tables: readonly Table[];
  readonly contrasts: readonly Contrast[];
  /** Runs whose loss left the finite numbers, or in which an invariant broke. */
  readonly failed: readonly ComparedCell[];
}

/** Below this an adjusted p counts as a difference. */
export const level = 0.05;

interface Question {
  /** The method that others are held against. */
  readonly against: string;
  readonly target: Target | null;
  readonly marks: readonly Mark[];
  readonly task: TaskFacts;
}

export function compareMethods(cells: readonly ComparedCell[], { against, target, marks, task }: Question): Comparison {
  const names = [...new Set(cells.map(({ strategy }) => strategy))];
  const methods = names.map((name) => ({
    name,
    cells: cells.filter(({ strategy }) => strategy === name).sort((a, b) => a.seed - b.seed),
  }));
  const budgets = [...new Set(cells.flatMap(({ evaluations }) => evaluations.map(({ budget }) => budget)))].sort(
    (a, b) => b - a,
  );
  return {
    marks,
    against,
    methods,
    seeds: [...new Set(cells.map(({ seed }) => seed))].sort((a, b) => a - b),
    budgets,
    tables: tableSpecs(methods, budgets, target, task).map((spec) => tableOf(spec, methods)),
    contrasts: contrastsOf(methods, against),
    failed: cells.filter(
      ({ violations, evaluations }) => violations.length > 0 || !evaluations.every(({ loss }) => Number.isFinite(loss)),
    ),
  };
}

/** What a method comes to in one column, before it is filled in. */
interface ColumnSpec {
  readonly id: string;
  readonly title: string;
  readonly of: (cell: ComparedCell) => number | null;
  readonly write: (value: number) => string;
  readonly better?: "low" | "high";
}

interface TableSpec extends Omit<Table, "columns"> {
  readonly columns: readonly ColumnSpec[];
}

function tableSpecs(
  methods: readonly Method[],
  budgets: readonly number[],
  target: Target | null,
  task: TaskFacts,
): TableSpec[] {
  const byBudget = (of: (cell: ComparedCell, budget: number | null) => number | null, rest: object) =>
    [...budgets, null].map((budget) => ({
      id: budget === null ? "mean" : `k${budget}`,
      title: budget === null ? "mean" : budgetIn(task, budget),
      of: (cell: ComparedCell) => of(cell, budget),
      ...(rest as Pick<ColumnSpec, "write" | "better">),
    }));
  const aim = target ?? usualTarget(methods);
  const quality: TableSpec[] =
    budgets.length === 0
      ? []
      : [
          {
            id: "loss",
            title: "Held-out loss",
            note: `Nats per ${task.target} after the last round; lower is better.`,
            columns: byBudget(({ evaluations }, budget) => lossAt(evaluations, budget), {
              write: inNats,
              better: "low",
            }),
          },
          ...task.metrics.map(({ key, title, meaning, form, better, of }): TableSpec => {
            const isShare = form === "share";
            return {
              id: key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
              title: `${title[0]!.toUpperCase()}${title.slice(1)}${isShare ? ", %" : form === "decibel" ? ", dB" : ""}`,
              note: `${meaning} ${better === "high" ? "Higher" : "Lower"} is better.`,
              columns: byBudget((cell, budget) => meanAt(cell, budget, (scores) => (isShare ? 100 : 1) * of(scores)), {
                write: isShare ? percentage : (value: number) => value.toFixed(2),
                better,
              }),
            };
          }),
        ];
  const time = { write: formatTime, better: "low" as const };
  const reached =
    aim === null
      ? []
      : [
          {
            id: "time-to-target",
            title: "time to target",
            of: ({ curve }: ComparedCell) => reachedAt(curve, aim),
            ...time,
          },
        ];
  return [
    ...quality,
    {
      id: "cost",
      title: "What it costs",
      note: `Virtual time, the same on every machine.${aim === null ? "" : ` The target is a held-out loss of ${aim.loss} ${aim.budget === null ? "in the mean over budgets" : `at ${budgetIn(task, aim.budget)}`}${target === null ? ", what every run comes to in the end" : ""}; it is looked for wherever a run is evaluated.`} Work and memory are a client's in a round, by formula. Bytes are all that was sent, both ways; useful are those of updates that were counted.`,
      columns: [
        ...reached,
        {
          id: "round-time",
          title: "a round",
          of: ({ virtualTime, rounds }) => (rounds === 0 ? null : virtualTime / rounds),
          ...time,
        },
        {
          id: "flops",
          title: "GFLOP",
          of: ({ costs }) => (costs?.flops == null ? null : costs.flops / 1e9),
          write: (value) => value.toFixed(2),
          better: "low",
        },
        { id: "memory", title: "memory", of: ({ costs }) => costs?.memory ?? null, write: formatBytes, better: "low" },
        { id: "bytes", title: "bytes sent", of: ({ bytes }) => bytes, write: formatBytes, better: "low" },
        { id: "useful-bytes", title: "useful", of: ({ costs }) => costs?.usefulBytes ?? null, write: formatBytes },
      ],
    },
    ...(quality.length === 0 ? [] : [fairnessSpec(methods)]),
  ];
}

function fairnessSpec(methods: readonly Method[]): TableSpec {
  const all = methods.flatMap(({ cells }) => cells.flatMap(({ fairness }) => fairness?.tiers ?? []));
  const low = { write: inNats, better: "low" as const };
  return {
    id: "fairness",
    title: "Fairness",
    note: "Held-out loss of what each client runs, on the examples it keeps from training (data.heldOutPerClient) or else on the common ones: the mean over a tier's clients, over the worst-off tenth of all clients, and the variance over all. Jain's index is of the shares of tokens predicted right: 1 when all are served equally.",
    columns: [
      ...[...new Set(all.map(({ tier }) => tier))].map((tier) => ({
        id: `tier-${tier}`,
        title: tier,
        of: ({ fairness }: Cell) => fairness?.tiers.find((one) => one.tier === tier)?.loss ?? null,
        ...low,
      })),
      { id: "worst-tenth", title: "worst tenth", of: ({ fairness }) => fairness?.worstTenth ?? null, ...low },
      { id: "variance", title: "variance", of: ({ fairness }) => fairness?.variance ?? null, ...low },
      {
        id: "jain",
        title: "Jain",
        of: ({ fairness }) => fairness?.jain ?? null,
        write: inNats,
        better: "high",
      },
    ],
  };
}

const inNats = (value: number): string => value.toFixed(3);
const percentage = (value: number): string => value.toFixed(1);

function meanAt({ evaluations }: Cell, budget: number | null, of: Metric["of"]): number | null {
  const asked = budget === null ? evaluations : evaluations.filter((result) => result.budget === budget);
  return asked.length === 0 ? null : mean(asked.map(of));
}

/** The largest loss in the mean over budgets that a run ends with: one that each of them gets to. */
function usualTarget(methods: readonly Method[]): Target | null {
  const ends = methods.flatMap(({ cells }) => cells.map(finalLoss)).filter(Number.isFinite);
  return ends.length === 0 ? null : { budget: null, loss: Math.ceil(100 * Math.max(...ends)) / 100 };
}

/** In the mean over budgets; NaN where nothing was evaluated, or a loss is none. */
const finalLoss = ({ evaluations }: Cell): number => lossAt(evaluations, null) ?? Number.NaN;

function tableOf({ columns, ...rest }: TableSpec, methods: readonly Method[]): Table {
  return {
    ...rest,
    columns: columns.map(({ of, better, ...column }) => {
      const entries = methods.map(({ name, cells }): Entry => {
        const runs = cells.map((cell) => ({ seed: cell.seed, value: of(cell) }));
        const finite = runs.map(({ value }) => value ?? Number.NaN).filter(Number.isFinite);
        return {
          method: name,
          runs,
          mean: finite.length === 0 ? null : mean(finite),
          deviation: finite.length < 2 ? null : sampleStandardDeviation(finite),
          count: finite.length,
        };
      });
      const whole = entries.flatMap((entry) =>
        entry.mean !== null && entry.count === entry.runs.length ? [entry.mean] : [],
      );
      const best = better === undefined || whole.length === 0 ? null : Math[better === "low" ? "min" : "max"](...whole);
      return { ...column, entries, best };
    }),
  };
}

/** Is it, to the digits that are shown, the best, and not all that there is? */
export function isBest({ entries, best, write }: Column, { mean: own, count, runs }: Entry): boolean {
  if (best === null || own === null || count < runs.length || write(own) !== write(best)) return false;
  return entries.some((entry) => entry.mean === null || write(entry.mean) !== write(best));
}

function contrastsOf(methods: readonly Method[], against: string): Contrast[] {
  const base = new Map(methods.find(({ name }) => name === against)?.cells.map((cell) => [cell.seed, cell]));
  const tests = methods
    .filter(({ name }) => name !== against)
    .map(({ name, cells }) => {
      const differences = cells.flatMap((cell) => {
        const other = base.get(cell.seed);
        return other === undefined ? [] : [finalLoss(cell) - finalLoss(other)];
      });
      return { method: name, test: pairedTest(differences) };
    });
  const adjusted = holm(tests.flatMap(({ test }) => (test === null ? [] : [test.p])));
  return tests.map(({ method, test }) => {
    const p = test === null ? null : adjusted.shift()!;
    return { method, test, adjusted: p, verdict: verdictOf(test, p) };
  });
}

function verdictOf(test: PairedTest | null, adjusted: number | null): Verdict {
  if (test === null || adjusted === null) return "too few seeds";
  if (adjusted >= level) return "no difference seen";
  return test.mean < 0 ? "better" : "worse";
}
