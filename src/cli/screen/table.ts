/** The lines a run prints: one per round, the same columns on a terminal and in a log. */

import { formatShare, formatTime } from "../../base/units.ts";
import type { BudgetMetrics, RoundMetrics } from "../../records/metrics.ts";
import type { TaskFacts } from "../../tasks/facts.ts";
import { colors } from "./colors.ts";
import { lineWidth } from "./terminal.ts";

/** What the wall clock adds to a row. */
export interface Pace {
  /** Real seconds since the run began. */
  readonly seconds: number;
  /** Counted updates per real second since the run began. */
  readonly rate: number;
  /** Real seconds to go; null before the first round has closed. */
  readonly remaining: number | null;
}

interface Column {
  readonly title: string;
  /** Fixed, since the rows to come are not known. */
  readonly width: number;
  text(row: RoundMetrics, pace: Pace): string;
  paint?(row: RoundMetrics): (text: string) => string;
}

/** What a run is evaluated at. */
export interface Evaluated {
  readonly task: TaskFacts;
  /** Largest first; empty without training. */
  readonly budgets: readonly number[];
}

const scoreWidth = 12;

function columnsOf({ task, budgets }: Evaluated): Column[] {
  const alert = (count: number, colour: (text: string) => string) => (count === 0 ? String : colour);
  return [
    { title: "round", width: 5, text: ({ round }) => String(round) },
    { title: "time", width: 9, text: ({ closedAt }) => formatTime(closedAt) },
    { title: "invited", width: 7, text: ({ invited }) => String(invited) },
    {
      title: "counted",
      width: 7,
      text: ({ counted }) => String(counted),
      paint: ({ counted, aggregated, round }) => alert(counted, aggregated || round === 0 ? colors.green : colors.red),
    },
    ...(["late", "dropped", "rejected"] as const).map((outcome) => ({
      title: outcome,
      width: Math.max(5, outcome.length),
      text: (row: RoundMetrics) => String(row[outcome]),
      paint: (row: RoundMetrics) => alert(row[outcome], colors.yellow),
    })),
    ...budgets.map((k) => ({
      title: `${task.budget.symbol}=${k}`,
      width: scoreWidth,
      text: ({ evaluations }: RoundMetrics) =>
        score(
          evaluations.find(({ budget }) => budget === k),
          task,
        ),
    })),
    { title: "real", width: 7, text: (_, { seconds }) => `${seconds.toFixed(1)}s` },
    { title: "upd/s", width: 6, text: (_, { rate }) => rate.toFixed(1) },
    { title: "ETA", width: 6, text: (_, { remaining }) => (remaining === null ? "" : duration(remaining)) },
  ];
}

/** Not worth a second line. */
const expendable = new Set(["upd/s", "real", "rejected"]);

/** The lines of a row: columns that can be done without are left out first, then results at budgets go below. */
function layoutOf(evaluated: Evaluated, most: number): Column[][] {
  const all = columnsOf(evaluated);
  const few = all.filter(({ title }) => !expendable.has(title));
  const fitting = [all, few].find((columns) => widthOf(columns) <= most);
  if (fitting !== undefined) return [fitting];
  const isResult = (column: Column) => column.width === scoreWidth;
  const counts = [all, few].map((columns) => columns.filter((column) => !isResult(column)));
  const [indent] = all;
  return [counts.find((columns) => widthOf(columns) <= most) ?? counts[1]!, [blank(indent!), ...all.filter(isResult)]];
}

const widthOf = (columns: readonly Column[]): number => columns.reduce((sum, { width }) => sum + width + 1, -1);

const blank = ({ width }: Column): Column => ({ title: "", width, text: () => "" });

export const header = (evaluated: Evaluated, most = lineWidth()): string =>
  layoutOf(evaluated, most)
    .map((columns) => columns.map(({ title, width }) => title.padStart(width)).join(" "))
    .join("\n");

export const roundLine = (row: RoundMetrics, evaluated: Evaluated, pace: Pace, most = lineWidth()): string =>
  layoutOf(evaluated, most)
    .filter((_, line) => line === 0 || row.evaluations.length > 0)
    .map((columns) =>
      columns
        .map(({ width, text, paint }) => {
          const cell = text(row, pace).padStart(width);
          return paint === undefined ? cell : paint(row)(cell);
        })
        .join(" "),
    )
    .join("\n");

/** Loss in nats per target, then what the task's tables show: of a language model, the share of exact answers. */
export function score(found: BudgetMetrics | undefined, { metrics: [shown] }: TaskFacts): string {
  if (found === undefined) return "·";
  const value = shown.of(found);
  const text = shown.form === "share" ? formatShare(value, 0) : value.toFixed(shown.form === "decibel" ? 1 : 2);
  return `${found.loss.toFixed(3)} ${text.padStart(5)}`;
}

/** The line below the table that shows what is under way. */
export function statusLine(status: {
  readonly round: number;
  readonly rounds: number;
  readonly time: number;
  readonly invited: number;
  readonly accepted: number;
  readonly evaluating: number;
  readonly workers: number | null;
  readonly elsewhere: string | null;
  readonly steps: number | null;
}): string {
  const { round, rounds, time, invited, accepted, evaluating, workers, elsewhere, steps } = status;
  const parts = [`round ${round}/${rounds}`, formatTime(time), `${accepted}/${invited} updates`];
  if (evaluating > 0) parts.push(`evaluating ${evaluating}`);
  if (steps !== null) parts.push(`${steps.toLocaleString("en-US")} steps`);
  if (workers !== null) parts.push(`${workers} workers`);
  if (elsewhere !== null) parts.push(elsewhere);
  return colors.dim(parts.join("  "));
}

/** `48s`, `3m05s`, `2h10m`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3_600)}h${String(Math.floor((whole % 3_600) / 60)).padStart(2, "0")}m`;
}
