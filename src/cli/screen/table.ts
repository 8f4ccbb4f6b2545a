/** The lines a run prints: one per round, the same columns on a terminal and in a log. */

import { formatTime } from "../../base/units.ts";
import type { RoundMetrics } from "../../records/metrics.ts";
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

export interface Columns {
  /** Evaluated budgets, largest first; empty without training. */
  readonly budgets: readonly number[];
}

const widths = { round: 5, time: 9, invited: 7, counted: 7, late: 5, dropped: 7, budget: 12, real: 8, rate: 8, eta: 7 };

export function header({ budgets }: Columns): string {
  return [
    "round".padStart(widths.round),
    "time".padStart(widths.time),
    "invited".padStart(widths.invited),
    "counted".padStart(widths.counted),
    "late".padStart(widths.late),
    "dropped".padStart(widths.dropped),
    ...budgets.map((k) => `k=${k}`.padStart(widths.budget)),
    "real".padStart(widths.real),
    "upd/s".padStart(widths.rate),
    "ETA".padStart(widths.eta),
  ].join(" ");
}

/** `loss` in nats per response token, then the share of held-out examples answered word for word. */
export function roundLine(row: RoundMetrics, { budgets }: Columns, pace: Pace): string {
  const lost = row.dropped + row.rejected;
  const cells = [
    String(row.round).padStart(widths.round),
    formatTime(row.closedAt).padStart(widths.time),
    String(row.invited).padStart(widths.invited),
    paint(row.counted, widths.counted, row.aggregated || row.round === 0 ? colors.green : colors.red),
    paint(row.late, widths.late, colors.yellow),
    paint(lost, widths.dropped, colors.yellow),
    ...budgets.map((k) => {
      const found = row.evaluations.find(({ topK }) => topK === k);
      return (found === undefined ? "·" : `${found.loss.toFixed(3)} ${percent(found.exactMatch)}`).padStart(
        widths.budget,
      );
    }),
    `${pace.seconds.toFixed(1)}s`.padStart(widths.real),
    pace.rate.toFixed(1).padStart(widths.rate),
    (pace.remaining === null ? "" : duration(pace.remaining)).padStart(widths.eta),
  ];
  return cells.join(" ");
}

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

const paint = (value: number, width: number, colour: (text: string) => string): string => {
  const text = String(value).padStart(width);
  return value === 0 ? text : colour(text);
};

const percent = (share: number): string => `${(share * 100).toFixed(0)}%`.padStart(4);

/** `48s`, `3m05s`, `2h10m`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3_600)}h${String(Math.floor((whole % 3_600) / 60)).padStart(2, "0")}m`;
}
