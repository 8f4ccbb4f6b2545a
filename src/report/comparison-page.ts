/** The report of a comparison: its tables, and what they look like. Lines and bars are means over seeds, dots single runs. */
import { join } from "node:path";
import * as Plot from "@observablehq/plot";
import { writeAtomically } from "../base/disk.ts";
import { lossAt } from "../study/cell.ts";
import { type Style, seriesStyle } from "./colours.ts";
import type { Column, Comparison, Method } from "./comparison.ts";
import { conclusion, csvOf, jsonOf, markdownOf, type Sheet, sheetsOf } from "./comparison-sheets.ts";
import { estimate } from "./confidence.ts";
import { asLines, draw, endLabels, type Figure, FULL, lines, type Series } from "./figure.ts";
import { plural, roundTicks, timeUnit, whole } from "./numbers.ts";
import { escapeHtml, renderNote, renderPage, renderTable } from "./page.ts";

export interface ComparisonFacts {
  readonly name: string;
  readonly question?: string | null;
  /** The command that runs the comparison again. */
  readonly reproduce: string;
}

/** Writes `report.html`, `comparison.md`, `comparison.csv` and `comparison.json`. @returns the path of the report */
export function writeComparison(folder: string, comparison: Comparison, facts: ComparisonFacts): string {
  const { name, reproduce } = facts;
  writeAtomically(join(folder, "comparison.md"), markdownOf(comparison, name, reproduce));
  writeAtomically(join(folder, "comparison.csv"), csvOf(comparison));
  writeAtomically(join(folder, "comparison.json"), jsonOf(comparison, reproduce));
  const path = join(folder, "report.html");
  writeAtomically(path, renderComparison(comparison, facts));
  return path;
}

/** @internal */
export function renderComparison(comparison: Comparison, facts: ComparisonFacts): string {
  const { methods, seeds, budgets, tables } = comparison;
  const styles = methods.map(({ name }, at) => seriesStyle(at, name));
  const trained = budgets.length > 0;
  const loss = tables.find(({ id }) => id === "loss");
  const sheets = sheetsOf(comparison);
  const panels = (wanted: (sheet: Sheet) => boolean): string => sheets.filter(wanted).map(panel).join("\n");
  const isMain = ({ id }: Sheet): boolean => id === "loss" || id === "test";
  return renderPage({
    title: facts.name,
    eyebrow: "flame-sim · comparison",
    question: facts.question ?? null,
    chips: [
      plural(methods.length, "method", "methods"),
      plural(seeds.length, "seed", "seeds"),
      `${whole(methods.reduce((sum, { cells }) => sum + cells.length, 0))} runs`,
    ],
    summary: trained
      ? renderNote(conclusion(comparison))
      : renderNote("These runs simulated timing only, so there is no quality to compare."),
    sections: [
      ...(trained
        ? [
            {
              title: "The table",
              lead: "Mean ± standard deviation over seeds; every method meets the same data, clients, devices and luck. The best of a column is bold.",
              html: panels(isMain),
            },
            {
              title: "How it looks",
              lead: "Dots are single runs, ticks and lines means over seeds, bars 95 % confidence intervals of the mean.",
              figures: [byBudget(loss!.columns, styles), ...curves(methods, styles)],
            },
          ]
        : []),
      { title: "All numbers", html: panels((sheet) => !isMain(sheet)) },
      { title: "About this comparison", html: `<p>Reproduce:</p><pre>${escapeHtml(facts.reproduce)}</pre>` },
    ],
    footer: "comparison.csv has every run, comparison.json every number of this page.",
  });
}

const panel = ({ title, note, head, rows }: Sheet): string =>
  `<div class="panel">${renderTable({ caption: title, head, rows })}<p class="lead">${escapeHtml(note)}</p></div>`;

/** A group for each column, in it a place for each method. */
function byBudget(columns: readonly Column[], styles: readonly Style[]): Figure {
  const dots = columns.flatMap(({ title, entries, write }) =>
    entries.flatMap(({ method, runs }, at) =>
      runs.flatMap(({ seed, value }) =>
        value === null || !Number.isFinite(value)
          ? []
          : [{ title, method, value, colour: styles[at]!.colour, told: `${method}, seed ${seed}: ${write(value)}` }],
      ),
    ),
  );
  const means = columns.flatMap(({ title, entries, write }) =>
    entries.flatMap(({ method, runs }, at) => {
      const found = estimate(runs.map(({ value }) => value ?? Number.NaN));
      if (found === null) return [];
      const { mean, half } = found;
      const told = `${method}: ${write(mean)}${half === null ? "" : ` ± ${write(half)}`}`;
      return [
        { title, method, mean, low: mean - (half ?? 0), high: mean + (half ?? 0), colour: styles[at]!.colour, told },
      ];
    }),
  );
  const values = dots.map(({ value }) => value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.02, 0.15 * (most - least));
  const stroke = { value: "colour", scale: null } as const;
  return {
    id: "by-budget",
    title: "Held-out loss by budget",
    caption:
      "After the last round, lower is better. Bars may reach beyond the plot: two or three seeds say little about their spread.",
    legend: styles.map((style) => ({ ...style, mark: "area" })),
    wide: true,
    svg: draw({
      ariaLabel: "held-out loss of each method at each budget",
      width: FULL,
      height: 320,
      marginTop: 34,
      fx: { label: null, domain: columns.map(({ title }) => title), padding: 0.12 },
      x: { axis: null, domain: styles.map(({ label }) => label), padding: 0.5 },
      y: {
        label: "↑ nats per response token",
        labelArrow: null,
        grid: true,
        domain: [Math.max(0, least - room), most + room],
      },
      marks: [
        Plot.ruleX(means, {
          fx: "title",
          x: "method",
          y1: "low",
          y2: "high",
          stroke,
          strokeWidth: 2,
          strokeOpacity: 0.45,
          clip: true,
        }),
        Plot.tickY(means, { fx: "title", x: "method", y: "mean", stroke, strokeWidth: 2.5, title: "told" }),
        Plot.dot(dots, { fx: "title", x: "method", y: "value", r: 2.6, fill: stroke, fillOpacity: 0.7, title: "told" }),
      ],
    }),
  };
}

interface Point {
  readonly round: number;
  /** Virtual milliseconds, the mean over seeds. */
  readonly time: number;
  readonly loss: number;
}

/** Loss in the mean over budgets on the way there, over rounds and over virtual time. */
function curves(methods: readonly Method[], styles: readonly Style[]): Figure[] {
  const series = methods.map(({ cells }, at): Series<Point> => {
    const rounds = [...new Set(cells.flatMap(({ curve }) => curve.map(({ round }) => round)))].sort((a, b) => a - b);
    const points = rounds.map((round) => {
      const there = cells.flatMap(({ curve }) => curve.filter((point) => point.round === round));
      const loss = estimate(there.map(({ evaluations }) => lossAt(evaluations, null) ?? Number.NaN))?.mean;
      const time = estimate(there.map(({ closedAt }) => closedAt))!.mean;
      return { round, time, loss: loss ?? Number.NaN };
    });
    return { style: styles[at]!, points };
  });
  const all = series.flatMap(({ points }) => points);
  const unit = timeUnit(Math.max(...all.map(({ time }) => time)));
  const plot = (id: string, title: string, caption: string, label: string, x: (point: Point) => number): Figure => {
    const y = ({ loss }: Point): number => loss;
    return {
      id,
      title,
      caption,
      legend: asLines(styles),
      svg: draw(
        {
          ariaLabel: `held-out loss against ${label}, per method`,
          marginRight: 14 + 7.8 * Math.min(18, Math.max(...styles.map(({ label: name }) => name.length))),
          x: {
            label: `${label} →`,
            labelArrow: null,
            nice: false,
            ...(id === "by-round" ? roundTicks(series[0]!.points) : {}),
          },
          y: { label: "↑ held-out loss, mean over budgets (nats)", labelArrow: null, grid: true, nice: true },
          marks: lines(series, { x, y, title: (point) => `round ${point.round}: ${point.loss.toFixed(3)}` }),
        },
        endLabels(series, { x, y }),
      ),
    };
  };
  return [
    plot("by-round", "On the way there", "What a round is worth. Means over seeds.", "round", ({ round }) => round),
    plot(
      "by-time",
      "On the clock",
      "What virtual time is worth: where methods ask more of clients, or send more, their rounds take longer. Means over seeds.",
      `virtual time (${unit.unit})`,
      ({ time }) => time / unit.divisor,
    ),
  ];
}
