/** What is measured of every run of a study, in the order of its tables. */
import { mean } from "simple-statistics";
import { formatBytes, formatTime } from "../../base/units.ts";
import { type Cell, type Curve, failureOf, lossAt, reachedAt, type Target, tierFairness } from "../../study/cell.ts";
import { budgetIn, type Metric, type TaskFacts } from "../../tasks/facts.ts";
import type { Form } from "../statistics/intervals.ts";

/** A finished cell with how it went on the way there. */
export interface StudyRun {
  readonly seed: number;
  readonly cell: Cell;
  readonly curve: Curve;
}

export interface Measure {
  readonly id: string;
  /** Of a column. */
  readonly title: string;
  /** Of a plot, and of its axis. */
  readonly name: string;
  readonly unit: string;
  readonly form: Form;
  readonly better: "low" | "high" | null;
  /** Null where the run has nothing to say, such as a target it never met; NaN where it left the numbers. */
  readonly of: (run: StudyRun) => number | null;
  readonly write: (value: number) => string;
  /** Is it a property that a run has or has not? */
  readonly isCount?: boolean;
}

export interface MeasureTable {
  readonly id: string;
  readonly title: string;
  readonly note: string;
  readonly measures: readonly Measure[];
}

interface Scope {
  readonly runs: readonly StudyRun[];
  /** Largest first. */
  readonly budgets: readonly number[];
  /** Whose clients' fairness is known. */
  readonly tiers: readonly string[];
  readonly target: Target | null;
  readonly task: TaskFacts;
}

/** The tables of a study; those of quality first, unless it simulated timing alone. */
export function measureTables({ runs, budgets, tiers, target, task }: Scope): MeasureTable[] {
  const aim = target ?? usualTarget(runs);
  if (budgets.length === 0) return [cost(aim, target, task), participation];
  const quality = [loss(budgets, task), ...task.metrics.map((metric) => metricTable(metric, budgets, task))];
  return [...quality, cost(aim, target, task), participation, fairness(tiers)];
}

const inNats = (value: number): string => value.toFixed(3);

/** A column for each budget, and one for their mean. */
function byBudget(
  table: string,
  budgets: readonly number[],
  task: TaskFacts,
  { of, ...rest }: Omit<Measure, "id" | "title" | "of"> & { of: (cell: Cell, budget: number | null) => number | null },
): Measure[] {
  return [...budgets, null].map((budget) => ({
    id: `${table}-${budget === null ? "mean" : `k${budget}`}`,
    title: budget === null ? "mean" : budgetIn(task, budget),
    ...rest,
    name: budget === null ? `${rest.name}, mean over budgets` : `${rest.name} at ${budgetIn(task, budget)}`,
    of: ({ cell }) => (isWhole(cell) ? of(cell, budget) : null),
  }));
}

/** A run that broke or was given up says nothing of its end. */
const isWhole = (cell: Cell): boolean => failureOf(cell) === null || failureOf(cell) === "diverged";

const loss = (budgets: readonly number[], task: TaskFacts): MeasureTable => ({
  id: "loss",
  title: "Held-out loss",
  note: `Nats per ${task.target} after the last round; lower is better.`,
  measures: byBudget("loss", budgets, task, {
    name: "held-out loss",
    unit: `nats per ${task.target}`,
    form: "positive",
    better: "low",
    of: ({ evaluations }, budget) => lossAt(evaluations, budget),
    write: inNats,
  }),
});

function metricTable({ key, title, meaning, form, better, of }: Metric, budgets: readonly number[], task: TaskFacts) {
  const id = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const isShare = form === "share";
  const unit = { share: "%", decibel: "dB", number: "" }[form];
  return {
    id,
    title: `${capital(title)}${unit === "" ? "" : `, ${unit}`}`,
    note: `${meaning} ${better === "high" ? "Higher" : "Lower"} is better.`,
    measures: byBudget(id, budgets, task, {
      name: title,
      unit,
      form: isShare ? "share" : "real",
      better,
      of: ({ evaluations }, budget) => {
        const asked = evaluations.filter((result) => budget === null || result.budget === budget);
        return asked.length === 0 ? null : mean(asked.map(of));
      },
      write: isShare ? inPercent : (value) => value.toFixed(2),
    }),
  };
}

const inPercent = (share: number): string => (100 * share).toFixed(1);
const capital = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

/** The largest loss in the mean over budgets that a run ends with: one that each of them gets to. */
function usualTarget(runs: readonly StudyRun[]): Target | null {
  const ends = runs
    .filter(({ cell }) => failureOf(cell) === null)
    .flatMap(({ cell }) => lossAt(cell.evaluations, null) ?? []);
  return ends.length === 0 ? null : { budget: null, loss: Math.ceil(100 * Math.max(...ends)) / 100 };
}

const time = { unit: "time", form: "positive", better: "low", write: formatTime } as const;
const bytes = { unit: "bytes", form: "positive", write: formatBytes } as const;

function cost(aim: Target | null, asked: Target | null, task: TaskFacts): MeasureTable {
  const place = aim?.budget === null ? "in the mean over budgets" : `at ${budgetIn(task, aim?.budget ?? 0)}`;
  const told = `The target is a held-out loss of ${aim?.loss} ${place}${asked === null ? ", what every run comes to in the end" : ""}; it is looked for wherever a run is evaluated.`;
  const whole = (of: (cell: Cell) => number | null) => (run: StudyRun) => (isWhole(run.cell) ? of(run.cell) : null);
  return {
    id: "cost",
    title: "What it costs",
    note: `Virtual time, the same on every machine.${aim === null ? "" : ` ${told}`} Work and memory are a client's in a round, by formula. Bytes are all that was sent, both ways; useful are those of updates that were counted.`,
    measures: [
      ...(aim === null
        ? []
        : [
            {
              id: "time-to-target",
              title: "time to target",
              name: "time to target",
              ...time,
              of: ({ curve }: StudyRun) => reachedAt(curve, aim),
            },
          ]),
      {
        id: "round-time",
        title: "a round",
        name: "virtual time of a round",
        ...time,
        of: whole(({ virtualTime, rounds }) => (rounds === 0 ? null : virtualTime / rounds)),
      },
      {
        id: "flops",
        title: "GFLOP",
        name: "work of a client in a round",
        unit: "GFLOP",
        form: "positive",
        better: "low",
        of: ({ cell: { costs } }) => (costs?.flops == null ? null : costs.flops / 1e9),
        write: (value) => (value < 0.01 ? String(Number(value.toPrecision(2))) : value.toFixed(2)),
      },
      {
        id: "memory",
        title: "memory",
        name: "memory of a client",
        better: "low",
        ...bytes,
        of: ({ cell: { costs } }) => costs?.memory ?? null,
      },
      {
        id: "bytes",
        title: "bytes sent",
        name: "bytes sent",
        better: "low",
        ...bytes,
        of: whole((cell) => cell.bytes),
      },
      {
        id: "useful-bytes",
        title: "useful",
        name: "bytes of counted updates",
        better: null,
        ...bytes,
        of: ({ cell: { costs } }) => costs?.usefulBytes ?? null,
      },
    ],
  };
}

const share = { unit: "%", form: "share", better: null, write: inPercent } as const;

const participation: MeasureTable = {
  id: "participation",
  title: "Who takes part",
  note: "Invitations that came to a counted update, and clients with at least one, in %. Even is Jain's index of the tiers' counted shares: 1 when an invitation counts equally often in every tier. Failed are runs that diverged, broke or were given up; they are in no mean of quality.",
  measures: [
    {
      id: "counted",
      title: "counted, %",
      name: "invitations counted",
      ...share,
      of: ({ cell: { counted, invited } }) => (invited === 0 ? null : counted / invited),
    },
    {
      id: "reach",
      title: "clients heard, %",
      name: "clients heard at least once",
      ...share,
      of: ({ cell: { distinctClients, clients } }) => (clients === 0 ? null : distinctClients / clients),
    },
    {
      id: "even",
      title: "even",
      name: "evenness across tiers",
      unit: "Jain's index",
      form: "share",
      better: null,
      of: ({ cell }) => tierFairness(cell),
      write: inNats,
    },
    {
      id: "failed",
      title: "failed",
      name: "runs that failed",
      ...share,
      isCount: true,
      of: ({ cell }) => (failureOf(cell) === null ? 0 : 1),
    },
  ],
};

function fairness(tiers: readonly string[]): MeasureTable {
  const low = { unit: "nats", form: "positive", better: "low", write: inNats } as const;
  return {
    id: "fairness",
    title: "Fairness",
    note: "Held-out loss of what each client runs, on the examples it keeps from training (data.heldOutPerClient) or else on the common ones: the mean over a tier's clients, over the worst-off tenth of all clients, and the variance over all. Jain's index is of the shares of tokens predicted right: 1 when all are served equally.",
    measures: [
      ...tiers.map((tier) => ({
        id: `tier-${tier}`,
        title: tier,
        name: `held-out loss of ${tier}`,
        ...low,
        of: ({ cell }: StudyRun) => cell.fairness?.tiers.find((one) => one.tier === tier)?.loss ?? null,
      })),
      {
        id: "worst-tenth",
        title: "worst tenth",
        name: "held-out loss of the worst-off tenth",
        ...low,
        of: ({ cell }) => cell.fairness?.worstTenth ?? null,
      },
      {
        id: "variance",
        title: "variance",
        name: "variance of loss over clients",
        ...low,
        of: ({ cell }) => cell.fairness?.variance ?? null,
      },
      {
        id: "jain",
        title: "Jain",
        name: "evenness of service",
        unit: "Jain's index",
        form: "share",
        better: "high",
        of: ({ cell }) => cell.fairness?.jain ?? null,
        write: inNats,
      },
    ],
  };
}
