/** The lines a run prints: one per round, the same columns on a terminal and in a log. */

import { formatShare, formatTime } from "../../base/units.ts";
import type { BudgetMetrics, RoundMetrics } from "../../records/metrics.ts";
import { colors } from "./colors.ts";

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

/** @param budgets those that are evaluated, largest first; empty without training */
function columnsOf(budgets: readonly number[]): Column[] {
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
      title: `k=${k}`,
      width: 12,
      text: ({ evaluations }: RoundMetrics) => score(evaluations.find(({ budget }) => budget === k)),
    })),
    { title: "real", width: 7, text: (_, { seconds }) => `${seconds.toFixed(1)}s` },
    { title: "upd/s", width: 6, text: (_, { rate }) => rate.toFixed(1) },
    { title: "ETA", width: 6, text: (_, { remaining }) => (remaining === null ? "" : duration(remaining)) },
  ];
}

export const header = (budgets: readonly number[]): string =>
  columnsOf(budgets)
    .map(({ title, width }) => title.padStart(width))
    .join(" ");

export const roundLine = (row: RoundMetrics, budgets: readonly number[], pace: Pace): string =>
  columnsOf(budgets)
    .map(({ width, text, paint }) => {
      const cell = text(row, pace).padStart(width);
      return paint === undefined ? cell : paint(row)(cell);
    })
    .join(" ");

/** Loss in nats per response token, then the share of held-out examples answered word for word. */
export const score = (found: BudgetMetrics | undefined): string =>
  found === undefined ? "·" : `${found.loss.toFixed(3)} ${formatShare(found.exactMatch, 0).padStart(5)}`;

/** The line below the table that shows what is under way. */
export function statusLine(status: {
  readonly round: number;
  readonly rounds: number;
  readonly time: number;
  readonly invited: number;
  readonly accepted: number;
  readonly evaluating: number;
}): string {
  const { round, rounds, time, invited, accepted, evaluating } = status;
  const parts = [`round ${round}/${rounds}`, formatTime(time), `${accepted}/${invited} updates`];
  if (evaluating > 0) parts.push(`evaluating ${evaluating}`);
  return colors.dim(parts.join("  "));
}

/** `48s`, `3m05s`, `2h10m`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3_600)}h${String(Math.floor((whole % 3_600) / 60)).padStart(2, "0")}m`;
}
