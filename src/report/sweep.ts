/**
 * The report of a stress matrix: strategies × dropout rates × seeds. Lines are means over seeds, bands 95 % confidence
 * intervals of the mean; every figure has its numbers in the table below.
 */

import { join } from "node:path";
import * as Plot from "@observablehq/plot";
import { writeAtomically } from "../base/disk.ts";
import { InputError } from "../base/errors.ts";
import { formatShare, formatTime } from "../base/units.ts";
import { type Cell, type Target, tierFairness } from "../study/cell.ts";
import { budgetIn, type TaskFacts } from "../tasks/facts.ts";
import { type Style, seriesStyle } from "./colours.ts";
import { type Estimate, estimate } from "./confidence.ts";
import { asLines, draw, endLabels, type Figure, lines } from "./figure.ts";
import { percent, plural, timeUnit, whole } from "./numbers.ts";
import { escapeHtml, renderNote, renderPage, renderTable, renderTiles } from "./page.ts";
import { formatTable } from "./table.ts";

export interface SweepFacts {
  /** What the task calls things. */
  readonly task: TaskFacts;
  readonly name: string;
  readonly question?: string | null;
  readonly target?: Target | null;
  /** The command that runs the matrix again. */
  readonly reproduce?: string | null;
}

interface Measure {
  readonly id: string;
  readonly title: string;
  readonly axis: string;
  readonly caption: string;
  /** Null where the cell has nothing to say, such as a target it never met. */
  readonly of: (cell: Cell) => number | null;
  readonly write: (value: number) => string;
  readonly zero: boolean;
  /** What a value can be at most; no interval reaches beyond. */
  readonly most?: number;
  /** The axis covers this much at least: differences of a thousandth are not to look like cliffs. */
  readonly span?: number;
}

/** Cells of one strategy and one dropout rate. */
interface Group {
  readonly strategy: string;
  readonly dropout: number;
  readonly cells: readonly Cell[];
}

/**
 * Writes `report.html` into `folder`.
 *
 * @returns its path
 * @throws InputError when there is no cell to report
 */
export function writeSweepReport(folder: string, cells: readonly Cell[], facts: SweepFacts): string {
  const path = join(folder, "report.html");
  writeAtomically(path, renderSweep(cells, facts));
  return path;
}

/** @internal */
export function renderSweep(cells: readonly Cell[], facts: SweepFacts): string {
  const groups = groupsOf(cells);
  const measures = measuresOf(cells, facts.target ?? null, facts.task);
  const strategies = strategiesOf(cells);
  const seeds = new Set(cells.map(({ seed }) => seed)).size;
  const broken = cells.filter(({ violations }) => violations.length > 0);
  const figures = measures.map((measure) => figure(measure, groups, strategies));
  const [head, ...rows] = table(groups, measures);
  const trained = cells.some(({ evaluations }) => evaluations.length > 0);
  return renderPage({
    title: facts.name,
    eyebrow: "flame-sim · stress test",
    question: facts.question ?? null,
    chips: [
      `${whole(cells.length)} runs`,
      plural(strategies.size, "variant", "variants"),
      plural(new Set(cells.map(({ dropout }) => dropout)).size, "dropout rate", "dropout rates"),
      plural(seeds, "seed", "seeds"),
    ],
    summary: `${tiles(groups, measures)}${violations(broken)}${
      trained ? "" : renderNote("These runs simulated timing only, so there is no quality to compare.")
    }${seeds < 3 ? renderNote("With fewer than three seeds an interval says little; run with --seeds 5 or more.") : ""}`,
    sections: [
      {
        title: "Against the dropout rate",
        lead: "Lines are means over seeds, bands 95 % confidence intervals of the mean, dots single runs.",
        figures,
      },
      {
        title: "All numbers",
        html: `<div class="panel">${renderTable({ head: head!, rows, numbersFrom: 1 })}</div>`,
      },
      ...(facts.reproduce == null
        ? []
        : [{ title: "About this test", html: `<p>Reproduce:</p><pre>${escapeHtml(facts.reproduce)}</pre>` }]),
    ],
    footer: "Intervals are Student's t over seeds. Times are virtual and the same on every machine.",
  });
}

/** The same table for terminals: mean ± half the 95 % interval, one line per strategy and dropout rate. */
export function formatSweep(cells: readonly Cell[], target: Target | null, task: TaskFacts): string {
  const [head, ...rows] = table(groupsOf(cells), measuresOf(cells, target, task));
  return formatTable(head!, rows, 1);
}

function measuresOf(cells: readonly Cell[], target: Target | null, task: TaskFacts): Measure[] {
  const budgets = [...new Set(cells.flatMap(({ evaluations }) => evaluations.map(({ budget }) => budget)))].sort(
    (a, b) => b - a,
  );
  const shown = budgets.length > 2 ? [budgets[0]!, budgets.at(-1)!] : budgets;
  const at = (budget: number, { evaluations }: Cell) => evaluations.find((result) => result.budget === budget);
  const time = timeUnit(Math.max(...cells.map(({ timeToTarget }) => timeToTarget ?? 0)));
  const [shownMetric] = task.metrics;
  const isShare = shownMetric.form === "share";
  const losses = shown.map(
    (budget): Measure => ({
      id: `loss-k${budget}`,
      title: `Held-out loss at ${budgetIn(task, budget)}`,
      axis: `held-out loss (nats per ${task.target})`,
      caption: `Quality after the last round at ${budgetIn(task, budget)} (${task.budget.name}); lower is better. A flat line is a strategy that dropouts do not harm.`,
      of: (cell) => at(budget, cell)?.loss ?? null,
      write: (value) => value.toFixed(3),
      zero: false,
    }),
  );
  const matches = shown.map(
    (budget): Measure => ({
      id: `exact-match-k${budget}`,
      title: `${shownMetric.title[0]!.toUpperCase()}${shownMetric.title.slice(1)} at ${budgetIn(task, budget)}`,
      axis: isShare ? `${shownMetric.title} (%)` : shownMetric.title,
      caption: `${shownMetric.meaning} After the last round; ${shownMetric.better === "high" ? "higher" : "lower"} is better.`,
      of(cell) {
        const found = at(budget, cell);
        return found === undefined ? null : scaled(shownMetric.of(found), isShare ? 100 : 1);
      },
      write: (value) => value.toFixed(1),
      zero: isShare,
      ...(isShare && { most: 100 }),
    }),
  );
  const reached = cells.filter(({ timeToTarget }) => timeToTarget !== null).length;
  const targets: Measure[] =
    target === null || budgets.length === 0
      ? []
      : [
          {
            id: "time-to-target",
            title: "Time to target",
            axis: `virtual time to target (${time.unit})`,
            caption: `Virtual time until held-out loss ${target.budget === null ? "in the mean over budgets" : `at ${budgetIn(task, target.budget)}`} first is ${target.loss} or less. ${whole(reached)} of ${whole(cells.length)} runs get there; the others are left out of the mean.`,
            of: ({ timeToTarget }) => scaled(timeToTarget, 1 / time.divisor),
            write: (value) => formatTime(value * time.divisor),
            zero: true,
          },
        ];
  const roundTime = ({ virtualTime, rounds }: Cell) => (rounds === 0 ? null : virtualTime / rounds);
  const roundUnit = timeUnit(Math.max(...cells.map((cell) => roundTime(cell) ?? 0)));
  return [
    ...losses,
    ...matches,
    ...targets,
    {
      id: "round-time",
      title: "How long a round takes",
      axis: `virtual time of a round (${roundUnit.unit})`,
      caption: "Mean over the rounds of a run. Waiting for clients that never answer shows here.",
      of: (cell) => scaled(roundTime(cell), 1 / roundUnit.divisor),
      write: (value) => formatTime(value * roundUnit.divisor),
      zero: true,
    },
    {
      id: "reach",
      title: "Clients heard at least once",
      axis: "distinct clients ever counted (%)",
      caption: "Share of the fleet with at least one counted update: whose data the adapter has seen at all.",
      of: ({ distinctClients, clients }) => (clients === 0 ? null : (distinctClients / clients) * 100),
      write: (value) => value.toFixed(1),
      zero: true,
      most: 100,
    },
    {
      id: "fairness",
      title: "Fairness across tiers",
      axis: "Jain's index of counted shares",
      caption:
        "1 when an invitation counts equally often in every tier; 1 ÷ tiers when only one tier ever counts. Dropout that falls on weak devices shows here first.",
      of: tierFairness,
      write: (value) => value.toFixed(3),
      zero: false,
      most: 1,
      span: 0.1,
    },
  ];
}

const scaled = (value: number | null | undefined, factor: number): number | null =>
  value == null ? null : value * factor;

interface Mean {
  readonly dropout: number;
  readonly estimate: Estimate;
}

function figure(measure: Measure, groups: readonly Group[], strategies: ReadonlyMap<string, Style>): Figure {
  const { id, title, axis, caption, of, write, zero, most = Infinity } = measure;
  const series = [...strategies].map(([strategy, style]) => ({
    style,
    points: groups.flatMap((group): Mean[] => {
      if (group.strategy !== strategy) return [];
      const found = estimateOf(group, measure);
      return found === null ? [] : [{ dropout: group.dropout * 100, estimate: found }];
    }),
  }));
  const singles = groups.flatMap((group) =>
    group.cells.flatMap((cell) => {
      const value = of(cell);
      if (value === null || !Number.isFinite(value)) return [];
      const { colour } = strategies.get(group.strategy)!;
      const told = `${cell.strategy}, dropout ${percent(cell.dropout)}, seed ${cell.seed}: ${write(value)}`;
      return [{ dropout: cell.dropout * 100, value, colour, told }];
    }),
  );
  const bands = series.flatMap(({ style, points }) => {
    const known = points.filter(({ estimate: { half } }) => half !== null);
    if (known.length === 0) return [];
    // Nothing that is measured here is ever below 0.
    const low = ({ estimate: { mean, half } }: Mean) => Math.max(0, mean - half!);
    const high = ({ estimate: { mean, half } }: Mean) => Math.min(most, mean + half!);
    return known.length === 1
      ? [Plot.ruleX(known, { x: "dropout", y1: low, y2: high, stroke: style.colour, strokeWidth: 2 })]
      : [Plot.areaY(known, { x: "dropout", y1: low, y2: high, fill: style.colour, fillOpacity: 0.16 })];
  });
  const x = ({ dropout }: Mean) => dropout;
  const y = ({ estimate: { mean } }: Mean) => mean;
  return {
    id,
    title,
    caption,
    legend: asLines([...strategies.values()]),
    svg: draw(
      {
        ariaLabel: `${axis} against dropout rate, per strategy`,
        marginRight: 14 + 7.8 * Math.min(18, Math.max(...[...strategies.keys()].map(({ length }) => length))),
        x: { label: "dropout rate (%) →", labelArrow: null, nice: false },
        y: {
          label: `↑ ${axis}`,
          labelArrow: null,
          grid: true,
          nice: true,
          zero,
          ...wideEnough(
            singles.map(({ value }) => value),
            measure,
          ),
        },
        marks: [
          ...bands,
          Plot.dot(singles, {
            x: "dropout",
            y: "value",
            r: 1.8,
            fill: { value: "colour", scale: null },
            fillOpacity: 0.55,
            title: "told",
          }),
          ...lines(series, {
            x,
            y,
            title: ({ dropout, estimate: found }) => `${dropout} %: ${writeEstimate(found, write)}`,
          }),
        ],
      },
      endLabels(series, { x, y }).map((label) => ({ ...label, text: shorten(label.text) })),
    ),
  };
}

/** A domain for values that lie closer together than the axis is to be wide. */
function wideEnough(values: readonly number[], { most = Infinity, span = 0 }: Measure): { domain?: [number, number] } {
  const [least, largest] = [Math.min(...values), Math.max(...values)];
  if (values.length === 0 || largest - least >= span) return {};
  const top = Math.min(most, (least + largest + span) / 2);
  return { domain: [top - span, top] };
}

const shorten = (name: string): string => (name.length > 18 ? `${name.slice(0, 17)}…` : name);

function estimateOf({ cells }: Group, { of }: Measure): Estimate | null {
  return estimate(cells.map((cell) => of(cell) ?? Number.NaN));
}

/** `1.234 ± 0.021`; the count is told where some runs had no value. */
function writeEstimate({ mean, half }: Estimate, write: (value: number) => string): string {
  return half === null ? write(mean) : `${write(mean)} ± ${write(half)}`;
}

function table(groups: readonly Group[], measures: readonly Measure[]): string[][] {
  const head = ["strategy", "dropout", "runs", "counted", ...measures.map(columnTitle)];
  const rows = groups.map((group) => {
    const { strategy, dropout, cells } = group;
    const counted = estimate(cells.map(({ invited, counted }) => (counted / invited) * 100));
    const values = measures.map((measure) => {
      const found = estimateOf(group, measure);
      if (found === null) return "–";
      const missing = found.count < cells.length ? ` (${found.count} of ${cells.length})` : "";
      return writeEstimate(found, measure.write) + missing;
    });
    const share = counted === null ? "–" : `${counted.mean.toFixed(1)} %`;
    return [strategy, formatShare(dropout, 2), whole(cells.length), share, ...values];
  });
  return [head, ...rows];
}

const columnTitle = ({ id, title }: Measure): string => {
  const [, kind, budget] = /^(loss|exact-match)-k(\d+)$/.exec(id) ?? [];
  if (kind === "loss") return `loss k=${budget}`;
  if (kind === "exact-match") return `exact match k=${budget}, %`;
  if (id === "round-time") return "a round";
  return id === "reach" ? "clients heard, %" : id === "fairness" ? "fairness" : title.toLowerCase();
};

/**
 * The winner at the highest dropout rate, for each measure of quality: what most readers open the report for. Variants
 * meet the same fleets under the same seeds, so they are compared seed by seed, and a difference that is no larger than
 * its interval makes no winner.
 */
function tiles(groups: readonly Group[], measures: readonly Measure[]): string {
  const worst = Math.max(...groups.map(({ dropout }) => dropout));
  const at = groups.filter(({ dropout }) => dropout === worst);
  const best = measures
    .filter(({ id }) => id.startsWith("loss"))
    .flatMap((measure) => {
      const ranked = at
        .flatMap((group) => {
          const found = estimateOf(group, measure);
          return found === null ? [] : [{ group, found }];
        })
        .sort((a, b) => a.found.mean - b.found.mean);
      const [first, second] = ranked;
      if (first === undefined) return [];
      const label = `lowest ${columnTitle(measure)} at ${formatShare(worst, 2)} dropout`;
      const told = writeEstimate(first.found, measure.write);
      if (second === undefined) return [{ value: first.group.strategy, label, note: told }];
      const lead = leadOf(first.group, second.group, measure);
      const isClear = lead?.half != null && lead.mean > lead.half;
      const by = lead === null ? "no seed in common" : `${writeEstimate(lead, measure.write)} below, seed by seed`;
      return [
        isClear
          ? { value: first.group.strategy, label, note: `${told}; ${second.group.strategy} is next: ${by}` }
          : { value: "not told apart", label, note: `${first.group.strategy} and ${second.group.strategy}: ${by}` },
      ];
    });
  return best.length === 0 ? "" : renderTiles(best);
}

/** How far one group lies below another, over the seeds that both have. */
function leadOf(lower: Group, upper: Group, { of }: Measure): Estimate | null {
  return estimate(
    lower.cells.map((cell) => {
      const other = upper.cells.find(({ seed }) => seed === cell.seed);
      return other === undefined ? Number.NaN : (of(other) ?? Number.NaN) - (of(cell) ?? Number.NaN);
    }),
  );
}

function violations(broken: readonly Cell[]): string {
  if (broken.length === 0) return "";
  const items = broken.slice(0, 50).map(({ strategy, dropout, seed, violations: found }) => {
    const where = `${strategy}, dropout ${percent(dropout)}, seed ${seed}`;
    return `<li class="failed"><b>${escapeHtml(where)}</b> <span>– ${escapeHtml(found.join("; "))}</span></li>`;
  });
  return `<div class="panel"><h3>Invariants broken in ${plural(broken.length, "run", "runs")}</h3><ul class="claims">${items.join("")}</ul></div>`;
}

/** In order of first appearance for strategies, ascending for rates. */
function groupsOf(cells: readonly Cell[]): Group[] {
  if (cells.length === 0) throw new InputError("the stress test has no finished run to report");
  const rates = [...new Set(cells.map(({ dropout }) => dropout))].sort((a, b) => a - b);
  return [...strategiesOf(cells).keys()].flatMap((strategy) =>
    rates.flatMap((dropout) => {
      const own = cells.filter((cell) => cell.strategy === strategy && cell.dropout === dropout);
      return own.length === 0 ? [] : [{ strategy, dropout, cells: [...own].sort((a, b) => a.seed - b.seed) }];
    }),
  );
}

const strategiesOf = (cells: readonly Cell[]): ReadonlyMap<string, Style> =>
  new Map([...new Set(cells.map(({ strategy }) => strategy))].map((name, i) => [name, seriesStyle(i, name)]));
