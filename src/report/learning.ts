/** Plots of what the fleet learned: held-out loss and accuracy at every budget. */
import type * as Plot from "@observablehq/plot";
import { formatTime } from "../base/units.ts";
import type { BudgetMetrics, RoundMetrics } from "../records/metrics.ts";
import type { TaskFacts } from "../tasks/facts.ts";
import type { Palette, Style } from "./colours.ts";
import { asLines, draw, endLabels, type Figure, lines, type Series } from "./figure.ts";
import { bins, nats, type RoundTicks, roundTicks, timeUnit, written } from "./numbers.ts";
import type { RunRecord } from "./run-folder.ts";

interface Point {
  readonly row: RoundMetrics;
  readonly result: BudgetMetrics;
}

/** Held-out loss over rounds and over virtual time, and what the task measures besides; none without evaluations. */
export function learningFigures({ rounds, task }: Pick<RunRecord, "rounds" | "task">, { budgets }: Palette): Figure[] {
  const series = [...budgets].map(([budget, style]) => ({ style, points: pointsOf(rounds, budget) }));
  if (series.length === 0) return [];
  const legend = asLines([...budgets.values()]);
  const time = timeUnit(rounds.at(-1)!.closedAt);
  const byRound = { label: "round →", ...roundTicks(rounds), value: ({ row }: Point) => row.round };
  const byTime = {
    label: `virtual time (${time.unit}) →`,
    value: ({ row }: Point) => row.closedAt / time.divisor,
  };
  const loss = { label: `↑ held-out loss (nats per ${task.target})`, value: ({ result }: Point) => result.loss };
  const training = trainingLine(rounds);
  const draw = (x: Axis, y: Axis, extra?: Plot.Markish[]) => plot(series, task, x, y, extra);
  return [
    {
      id: "loss-by-round",
      title: "Held-out loss over rounds",
      caption: `Cross-entropy per ${task.target} on examples no client trains on, at every budget of ${task.budget.name}. ${change(series, ({ loss }) => nats(loss))}${
        training.length === 0
          ? ""
          : ` The dotted line is the mean training loss of the counted updates, per ${task.target}.`
      }`,
      legend: training.length === 0 ? legend : [...legend, { ...TRAINING, mark: "line" }],
      svg: draw(byRound, loss, training),
    },
    {
      id: "loss-by-time",
      title: "Held-out loss over virtual time",
      caption:
        "The same loss against the clock of the simulated fleet: a slow round is a long step to the right, so this is the plot for comparing deadlines and round policies.",
      legend,
      svg: draw(byTime, loss),
    },
    ...task.metrics.map((metric, at): Figure => {
      const { key, title, meaning, form, of } = metric;
      const unit = { share: " (%)", decibel: " (dB)", number: "" }[form];
      const scale = form === "share" ? 100 : 1;
      return {
        id: key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
        title: `${title[0]!.toUpperCase()}${title.slice(1)} over rounds`,
        caption: `${meaning} ${change(series, (result) => written(metric, result))}`,
        legend,
        svg: draw(byRound, {
          label: `↑ ${title}${unit}`,
          value: ({ result }) => of(result) * scale,
          zero: at === 0 && form === "share",
        }),
      };
    }),
    ...learningRateFigure(rounds),
  ];
}

/** What a schedule made of the clients' learning rate; none without a schedule. */
function learningRateFigure(rounds: readonly RoundMetrics[]): Figure[] {
  const points = rounds.flatMap(({ round, learningRate: rate }) => (rate === undefined ? [] : [{ round, rate }]));
  if (points.length === 0) return [];
  const style: Style = { label: "learning rate", colour: "var(--accent)", dash: null };
  type Point = (typeof points)[number];
  const title = ({ round, rate }: Point) => `round ${round}: ${plainNumber(rate)}`;
  const [first, last] = [points[0]!, points.at(-1)!];
  const highest = points.reduce((best, point) => (point.rate > best.rate ? point : best));
  return [
    {
      id: "learning-rate",
      title: "Learning rate over rounds",
      caption: `What the schedule makes of the rate that clients train at: ${plainNumber(first.rate)} in round ${first.round}, ${plainNumber(last.rate)} in round ${last.round}, at most ${plainNumber(highest.rate)}. A method with a rate of its own has that times the same factors.`,
      legend: [],
      svg: draw({
        ariaLabel: "learning rate against round",
        marginLeft: 62,
        x: { label: "round →", ...roundTicks(rounds), labelArrow: null },
        y: { label: "↑ learning rate", labelArrow: null, grid: true, zero: true, nice: true, tickFormat: plainNumber },
        marks: lines([{ style, points }], { x: ({ round }: Point) => round, y: ({ rate }: Point) => rate, title }),
      }),
    },
  ];
}

/** 0.00025, 1.2e-7: three digits that count. */
const plainNumber = (value: number): string => String(Number(value.toPrecision(3)));

interface Axis extends RoundTicks {
  readonly label: string;
  readonly value: (point: Point) => number;
  readonly zero?: boolean;
}

function plot(
  series: readonly Series<Point>[],
  { budget, metrics }: TaskFacts,
  x: Axis,
  y: Axis,
  extra: Plot.Markish[] = [],
): string {
  const { value: _, zero: __, ...xAxis } = x;
  const title = ({ row, result }: Point) =>
    `round ${row.round}, ${formatTime(row.closedAt)}, ${budget.symbol} = ${result.budget}\n${[
      `loss ${nats(result.loss)}`,
      ...metrics.map((metric) => `${metric.title} ${written(metric, result)}`),
    ].join(", ")}`;
  const channels = { x: x.value, y: y.value };
  return draw(
    {
      ariaLabel: `${y.label} against ${x.label}`.replace(/[↑→] ?/g, ""),
      marginRight: 52,
      x: { ...xAxis, labelArrow: null },
      y: { label: y.label, labelArrow: null, grid: true, nice: true, zero: y.zero === true },
      marks: [...extra, ...lines(series, { ...channels, title })],
    },
    endLabels(series, channels),
  );
}

const TRAINING: Style = { label: "training", colour: "var(--muted)", dash: "1 3" };

/** Thinned to means: unlike the held-out loss it is measured on other clients' data every round, and is noisy. */
function trainingLine(rounds: readonly RoundMetrics[]): Plot.Markish[] {
  const trained = rounds.filter(({ trainLoss }) => trainLoss !== null);
  if (trained.length < 2) return [];
  const points = bins(trained, 100).map((group) => ({
    round: group.reduce((sum, { round }) => sum + round, 0) / group.length,
    loss: group.reduce((sum, { trainLoss }) => sum + trainLoss!, 0) / group.length,
  }));
  const channels = { x: ({ round }: (typeof points)[number]) => round, y: ({ loss }: (typeof points)[number]) => loss };
  return lines([{ style: TRAINING, points }], { ...channels, title: () => "" }).slice(0, 1);
}

const pointsOf = (rounds: readonly RoundMetrics[], budget: number): Point[] =>
  rounds.flatMap((row) => {
    const result = row.evaluations.find((evaluation) => evaluation.budget === budget);
    return result === undefined ? [] : [{ row, result }];
  });

/** "At k = 8 it went from 3.010 to 2.105." for the largest budget. */
function change(series: readonly Series<Point>[], write: (result: BudgetMetrics) => string): string {
  const { style, points } = series[0]!;
  const [first, last] = [points[0]!, points.at(-1)!];
  if (first === last) return `At ${style.label} it is ${write(first.result)}.`;
  return `At ${style.label} it went from ${write(first.result)} to ${write(last.result)}.`;
}
