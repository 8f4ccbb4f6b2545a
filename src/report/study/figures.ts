/** Plots of the methods of a study: at each budget, on the way there, one measure against another, and their ranks. */
import * as Plot from "@observablehq/plot";
import { lossAt } from "../../study/cell.ts";
import { type Style, seriesStyle } from "../colours.ts";
import { asAreas, asLines, draw, endLabels, type Figure, FULL } from "../figure.ts";
import { roundTicks, timeUnit } from "../numbers.ts";
import { estimate, type Interval } from "../statistics/intervals.ts";
import { type Column, type Comparison, finiteOf, type Group } from "./comparison.ts";
import type { Measure } from "./measures.ts";
import { fixed, inUnits, isWide, roomFor, roomy, shorten, yLabel } from "./scales.ts";

const stylesOf = ({ methods }: Comparison): ReadonlyMap<string, Style> =>
  new Map(methods.map((method, at) => [method, seriesStyle(at, method)]));

/** More panels than these are no picture: then the first, the last and two between. */
const mostPanels = 4;

function shownOf<Item>(items: readonly Item[]): Item[] {
  if (items.length <= mostPanels) return [...items];
  return Array.from(
    { length: mostPanels },
    (_, at) => items[Math.round((at * (items.length - 1)) / (mostPanels - 1))]!,
  );
}

const leftOut = ({ conditions }: Comparison): string =>
  conditions.length > mostPanels ? ` ${mostPanels} of ${conditions.length} conditions are shown.` : "";

/** Held-out loss at each budget, a figure for each condition. */
export function budgetFigures(comparison: Comparison): Figure[] {
  const loss = comparison.tables.find(({ id }) => id === "loss");
  return loss === undefined
    ? []
    : shownOf(comparison.conditions).map((place) => byBudget(loss.columns, place, comparison));
}

/** A group for each column, in it a place for each method. */
function byBudget(columns: readonly Column[], condition: string | null, comparison: Comparison): Figure {
  const styles = stylesOf(comparison);
  const shown = columns.flatMap(({ measure, entries }) =>
    entries
      .filter(({ group }) => group.condition === condition)
      .map(({ group, values }) => {
        const { method, runs } = group;
        return { title: measure.title, method, runs, values, measure, colour: styles.get(method)!.colour };
      }),
  );
  const dots = shown.flatMap(({ runs, values, measure, ...place }) =>
    runs.map(({ seed }, at) => {
      const value = values[at] ?? null;
      return {
        ...place,
        value,
        told: `${place.method}, seed ${seed}: ${value === null ? "failed" : measure.write(value)}`,
      };
    }),
  );
  const means = shown.flatMap(({ values, measure, runs: _, ...place }) => {
    const found = estimate(
      values.map((value) => value ?? Number.NaN),
      measure.form,
    );
    if (found === null) return [];
    const { low, high } = found.interval ?? { low: found.mean, high: found.mean };
    return [{ ...place, mean: found.mean, low, high, told: `${place.method}: ${measure.write(found.mean)}` }];
  });
  const values = dots.flatMap(({ value }) => value ?? []);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.02, 0.15 * (most - least));
  const at = { fx: "title", x: "method", title: "told" } as const;
  const stroke = fixed("colour");
  const where = condition === null ? "" : `, ${condition}`;
  return {
    id: `by-budget${where.replaceAll(/\W+/g, "-")}`,
    title: `Held-out loss by budget${where}`,
    caption: `After the last round, lower is better. Bars may reach beyond the plot: few seeds say little about their spread. Crosses are runs that failed.${leftOut(comparison)}`,
    legend: asAreas([...styles.values()]),
    wide: true,
    svg: draw({
      ariaLabel: "held-out loss of each method at each budget",
      width: FULL,
      height: 320,
      fx: { label: null, domain: columns.map(({ measure }) => measure.title), padding: 0.12 },
      x: { axis: null, domain: [...styles.keys()], padding: 0.5 },
      y: {
        label: `↑ ${columns[0]!.measure.unit}`,
        labelArrow: null,
        grid: true,
        ...(values.length === 0 ? {} : { domain: [Math.max(0, least - room), most + room] }),
      },
      marks: [
        Plot.ruleX(means, { ...at, y1: "low", y2: "high", stroke, strokeWidth: 2, strokeOpacity: 0.45, clip: true }),
        Plot.tickY(means, { ...at, y: "mean", stroke, strokeWidth: 2.5 }),
        Plot.dot(
          dots.filter(({ value }) => value !== null),
          { ...at, y: "value", r: 2.6, fill: stroke, fillOpacity: 0.7 },
        ),
        Plot.dot(
          dots.filter(({ value }) => value === null),
          { ...at, frameAnchor: "top", symbol: "times", r: 4, stroke, strokeWidth: 1.6 },
        ),
      ],
    }),
  };
}

interface Point {
  readonly panel: string;
  readonly round: number;
  /** Virtual milliseconds, the mean over seeds. */
  readonly time: number;
  readonly loss: number;
  readonly interval: Interval | null;
}

/** Loss in the mean over budgets on the way there, over rounds and over virtual time. */
export function curveFigures(comparison: Comparison): Figure[] {
  const { budgets, groups, conditions, methods } = comparison;
  if (budgets.length === 0) return [];
  const styles = stylesOf(comparison);
  const shown = shownOf(conditions);
  const series = methods.map((method) => ({
    style: styles.get(method)!,
    points: groups.filter((group) => group.method === method && shown.includes(group.condition)).flatMap(curveOf),
  }));
  const all = series.flatMap(({ points }) => points);
  const unit = timeUnit(all.reduce((most, { time }) => Math.max(most, time), 0));
  const domain = roomy(
    all.map(({ loss }) => loss),
    { zero: false, most: Number.POSITIVE_INFINITY },
  );
  const isOne = shown.length === 1;
  const facet = isOne ? {} : { fx: "panel" };
  const plot = (id: string, title: string, caption: string, label: string, x: (point: Point) => number): Figure => {
    const y = ({ loss }: Point): number => loss;
    const marks = series.flatMap(({ style: { colour, dash }, points }): Plot.Markish[] => {
      const known = points.filter(({ interval }) => interval !== null);
      const band = { y1: ({ interval }: Point) => interval!.low, y2: ({ interval }: Point) => interval!.high };
      const told = (point: Point) => `round ${point.round}: ${point.loss.toFixed(3)}`;
      return [
        Plot.areaY(known, { x, ...band, z: "panel", ...facet, fill: colour, fillOpacity: 0.1, clip: true }),
        Plot.line(points, {
          ...{ x, y, z: "panel", ...facet, stroke: colour, strokeWidth: 2 },
          ...(dash === null ? {} : { strokeDasharray: dash }),
        }),
        Plot.dot(points, { x, y, ...facet, r: 2.4, fill: colour, stroke: "var(--panel)", title: told }),
      ];
    });
    const rounds = all.filter(({ panel }) => panel === all[0]!.panel);
    return {
      id,
      title,
      caption: `${caption} Means over seeds with 95 % intervals, which may reach beyond the plot; a run that failed counts as long as it has a loss.${leftOut(comparison)}`,
      legend: asLines([...styles.values()]),
      ...(isOne ? {} : { wide: true }),
      svg: draw(
        {
          ariaLabel: `held-out loss against ${label}, per method`,
          ...(isOne
            ? { marginRight: roomFor(methods) }
            : { width: FULL, fx: { label: null }, marginTop: 34, marginLeft: 66 }),
          x: {
            label: `${label} →`,
            labelArrow: null,
            nice: false,
            ...(id === "by-round"
              ? roundTicks([...new Map(rounds.map((point) => [point.round, point])).values()])
              : {}),
          },
          // Of few seeds intervals are wide: they would leave the means a line at the bottom.
          y: { ...yLabel("held-out loss, mean over budgets (nats)", isOne), grid: true, nice: true, domain },
          marks,
        },
        isOne && methods.length > 1
          ? endLabels(series, { x, y }).map((found) => ({ ...found, text: shorten(found.text) }))
          : [],
      ),
    };
  };
  return [
    plot("by-round", "On the way there", "What a round is worth.", "round", ({ round }) => round),
    plot(
      "by-time",
      "On the clock",
      "What virtual time is worth: where methods ask more of clients, or send more, their rounds take longer.",
      `virtual time (${unit.unit})`,
      ({ time }) => time / unit.divisor,
    ),
  ];
}

function curveOf({ runs, condition }: Group): Point[] {
  const rounds = [...new Set(runs.flatMap(({ curve }) => curve.map(({ round }) => round)))].sort((a, b) => a - b);
  return rounds.flatMap((round) => {
    const there = runs.flatMap(({ curve }) => curve.filter((point) => point.round === round));
    const loss = estimate(
      there.map(({ evaluations }) => lossAt(evaluations, null) ?? Number.NaN),
      "positive",
    );
    if (loss === null) return [];
    const time = there.reduce((sum, { closedAt }) => sum + closedAt, 0) / there.length;
    return [{ panel: condition ?? "", round, time, loss: loss.mean, interval: loss.interval }];
  });
}

/** One measure against another: a dot for each run, a line through the means of a method over its conditions. */
export function pairFigures(comparison: Comparison): Figure[] {
  return comparison.pairs.map(([x, y]) => pair(x, y, comparison));
}

function pair(x: Measure, y: Measure, comparison: Comparison): Figure {
  const styles = stylesOf(comparison);
  const runs = comparison.groups.flatMap(({ method, condition, runs: own }) =>
    own.flatMap((run) => {
      const [atX, atY] = [finiteOf(x, run), finiteOf(y, run)];
      if (atX === null || atY === null) return [];
      const place = `${method}${condition === null ? "" : `, ${condition}`}`;
      const told = `${place}, seed ${run.seed}: ${x.name} ${x.write(atX)}, ${y.name} ${y.write(atY)}`;
      return [{ method, place, x: atX, y: atY, told, colour: styles.get(method)!.colour }];
    }),
  );
  const means = [...new Set(runs.map(({ place }) => place))].map((place) => {
    const own = runs.filter((run) => run.place === place);
    const mean = (of: (run: (typeof runs)[number]) => number) =>
      own.reduce((sum, run) => sum + of(run), 0) / own.length;
    return { ...own[0]!, x: mean((run) => run.x), y: mean((run) => run.y), told: place };
  });
  const [unitX, unitY] = [
    inUnits(
      x,
      runs.map((run) => run.x),
    ),
    inUnits(
      y,
      runs.map((run) => run.y),
    ),
  ];
  const at = { x: (run: { x: number }) => run.x / unitX.divisor, y: (run: { y: number }) => run.y / unitY.divisor };
  const [fill, stroke] = [fixed("colour"), fixed("colour")];
  const along = comparison.axes.filter(({ role }) => role === "condition");
  const isJoined = along.length === 1;
  return {
    id: `${y.id}-against-${x.id}`,
    title: `${y.name[0]!.toUpperCase()}${y.name.slice(1)} against ${x.name}`,
    caption: `Small dots are runs, large ones means over seeds${isJoined ? `, joined over ${along[0]!.title}` : ""}.`,
    legend: asAreas([...styles.values()]),
    svg: draw({
      ariaLabel: `${y.name} against ${x.name}`,
      marginRight: 24,
      x: {
        label: `${unitX.label} →`,
        labelArrow: null,
        nice: true,
        ...(isWide(runs.map((run) => run.x)) ? { type: "log" } : {}),
        // A scale of one value writes it with all the digits it can.
        ...(new Set(runs.map((run) => run.x)).size === 1
          ? { tickFormat: (x: number) => `${Number(x.toPrecision(4))}` }
          : {}),
      },
      y: { label: `↑ ${unitY.label}`, labelArrow: null, grid: true, nice: true, zero: unitY.zero },
      marks: [
        ...(isJoined ? [Plot.line(means, { ...at, z: "method", stroke, strokeOpacity: 0.5 })] : []),
        Plot.dot(runs, { ...at, r: 2, fill, fillOpacity: 0.55, title: "told" }),
        Plot.dot(means, { ...at, r: 4.5, fill, stroke: "var(--panel)", title: "told" }),
      ],
    }),
  };
}

/** Mean ranks on a line, with what has to lie between two of them. */
export function rankFigures(comparison: Comparison): Figure[] {
  const { ranks, methods, compared } = comparison;
  if (ranks === null) return [];
  const styles = stylesOf(comparison);
  const rows = ranks.methods.map(({ method, rank }) => ({
    method,
    rank,
    colour: styles.get(method)!.colour,
    told: `${method}: ${rank.toFixed(2)}`,
  }));
  const best = rows[0]!.rank;
  return [
    {
      id: "ranks",
      title: "Mean ranks",
      caption: `Of ${compared.name} over ${ranks.seeds} seeds; 1 is best. Who lies in the shade is not told apart from the first: critical difference ${ranks.critical.toFixed(2)}.`,
      legend: [],
      svg: draw({
        ariaLabel: "mean rank of each method",
        height: 60 + 22 * rows.length,
        marginLeft: 20 + 7 * Math.min(28, Math.max(...methods.map(({ length }) => length))),
        x: { label: "mean rank →", labelArrow: null, domain: [1, methods.length], grid: true },
        y: { label: null, domain: rows.map(({ method }) => method), type: "point" },
        marks: [
          Plot.rectX([{ from: best, to: Math.min(methods.length, best + ranks.critical) }], {
            x1: "from",
            x2: "to",
            fill: "var(--s0)",
            fillOpacity: 0.09,
          }),
          Plot.dot(rows, { x: "rank", y: "method", r: 5, fill: fixed("colour"), title: "told" }),
        ],
      }),
    },
  ];
}
