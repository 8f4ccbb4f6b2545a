/** Plots of a study against what it varies: lines along an axis of numbers, and heat maps of two axes. */
import * as Plot from "@observablehq/plot";
import type { AxisFacts, Coordinate } from "../../study/matrix/plan.ts";
import { type Style, seriesStyle } from "../colours.ts";
import { asLines, draw, endLabels, type Figure, FULL } from "../figure.ts";
import { estimate, type Interval } from "../statistics/intervals.ts";
import { type Comparison, finiteOf, type Group } from "./comparison.ts";
import type { Measure } from "./measures.ts";
import { bestOf, fixed, inUnits, onScale, roomFor, roomy, shorten, yLabel } from "./scales.ts";

/** Every measure that is worth a plot against every axis of numbers, and a map where there are two axes. */
export function axisFigures(comparison: Comparison): Figure[] {
  const { axes } = comparison;
  const varied = axes.filter(
    ({ id }) => !["strategy", "scenario", "variant", "policy", "sampler", "condition"].includes(id),
  );
  const numeric = varied.filter(({ levels }) => levels.every(({ value }) => value !== null));
  const lines = numeric.flatMap((axis) => plotted(comparison).map((measure) => along(axis, measure, comparison)));
  const [x, y] = varied;
  return x === undefined || y === undefined ? lines : [heatMap(x, y, comparison), ...lines];
}

/** Quality at the largest and the smallest budget, and what rounds are like. */
function plotted({ tables, budgets, groups, compared, task, failed }: Comparison): Measure[] {
  const ends = [budgets[0], ...(budgets.length > 1 ? [budgets.at(-1)] : [])].map((budget) => `k${budget}`);
  const quality = ["loss", task.metrics[0].key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)];
  const ids = [
    compared.id,
    ...quality.flatMap((id) => ends.map((end) => `${id}-${end}`)),
    ...["time-to-target", "round-time", "bytes", "counted", "reach", "even"],
    ...(failed.length === 0 ? [] : ["failed"]),
  ];
  const measures = tables.flatMap(({ columns }) => columns.map(({ measure }) => measure));
  const runs = groups.flatMap((group) => group.runs);
  // What is the same everywhere is no picture.
  return measures.filter(
    (measure) => ids.includes(measure.id) && new Set(runs.map((run) => finiteOf(measure, run))).size > 1,
  );
}

/** What else a group is: a line, and the panel in which it is. */
interface Series {
  readonly line: string;
  readonly panel: string;
}

/** @param axes those that a plot has of its own */
function seriesOf({ at, method, condition }: Group, axes: readonly AxisFacts[], all: readonly AxisFacts[]): Series {
  const rest = (role: AxisFacts["role"]): string =>
    all
      .filter((axis) => axis.role === role && !axes.includes(axis))
      .flatMap(({ id }) => at[id]?.label ?? [])
      .join(" · ");
  const has = (role: AxisFacts["role"]): boolean => axes.some((axis) => axis.role === role);
  return {
    line: has("method") ? rest("method") : method,
    panel: has("condition") ? rest("condition") : (condition ?? ""),
  };
}

interface Point extends Series {
  readonly x: number;
  readonly mean: number;
  readonly interval: Interval | null;
  readonly told: string;
}

function along(axis: AxisFacts, measure: Measure, comparison: Comparison): Figure {
  const { axes, groups } = comparison;
  const scaleX = axis.id === "dropout" ? 100 : 1;
  const placed = groups.flatMap((group) => {
    const { value } = group.at[axis.id] ?? { value: null };
    return value === null ? [] : [{ group, x: value * scaleX, ...seriesOf(group, [axis], axes) }];
  });
  const unit = inUnits(
    measure,
    groups.flatMap(({ runs }) => runs.flatMap((run) => finiteOf(measure, run) ?? [])),
  );
  const points = placed.flatMap(({ group, ...place }): Point[] => {
    const found = estimate(
      group.runs.map((run) => finiteOf(measure, run) ?? Number.NaN),
      measure.form,
    );
    if (found === null) return [];
    const { low, high } = found.interval ?? {};
    const range = low === undefined || high === undefined ? "" : ` (${measure.write(low)} to ${measure.write(high)})`;
    const told = `${group.method}${group.condition === null ? "" : `, ${group.condition}`}: ${measure.write(found.mean)}${range}`;
    return [{ ...place, mean: found.mean, interval: found.interval, told }];
  });
  const names = [...new Set(placed.map(({ line }) => line))];
  const styles = new Map(names.map((name, at): [string, Style] => [name, seriesStyle(at, name)]));
  const singles = placed.flatMap(({ group, line, ...place }) =>
    group.runs.flatMap((run) => {
      const value = finiteOf(measure, run);
      const colour = styles.get(line)!.colour;
      const told = `${group.method}, seed ${run.seed}${value === null ? "" : `: ${measure.write(value)}`}`;
      return [{ ...place, value, colour, told }];
    }),
  );
  const panels = [...new Set(placed.map(({ panel }) => panel))];
  const facet = panels.length > 1 ? { fx: "panel" } : {};
  const scaled = (value: number): number => value / unit.divisor;
  const lines = [...styles].map(([line, style]) => ({ style, points: points.filter((point) => point.line === line) }));
  const marks = lines.flatMap(({ style: { colour, dash }, points: own }): Plot.Markish[] => {
    const known = own.filter(({ interval }) => interval !== null);
    const band = {
      x: "x",
      y1: ({ interval }: Point) => scaled(interval!.low),
      y2: ({ interval }: Point) => scaled(interval!.high),
      ...facet,
      clip: true,
    };
    const dashed = dash === null ? {} : { strokeDasharray: dash };
    const y = ({ mean }: Point) => scaled(mean);
    return [
      Plot.areaY(known, { ...band, fill: colour, fillOpacity: 0.13 }),
      Plot.ruleX(known, { ...band, stroke: colour, strokeOpacity: 0.4 }),
      Plot.line(own, { x: "x", y, ...facet, stroke: colour, strokeWidth: 2, ...dashed }),
      Plot.dot(own, { x: "x", y, ...facet, r: 3, fill: colour, stroke: "var(--panel)", title: "told" }),
    ];
  });
  const fill = fixed("colour");
  const label = axis.id === "dropout" ? "dropout rate (%)" : axis.title;
  const isOne = panels.length === 1;
  const shown = [...points.map(({ mean }) => mean), ...singles.flatMap(({ value }) => value ?? [])].map(scaled);
  const domain =
    unit.domain ?? roomy(shown, { zero: unit.zero, most: measure.form === "share" ? scaled(1) : Infinity });
  const missing = singles.filter(({ value }) => value === null);
  return {
    id: `${measure.id}-by-${axis.id.replaceAll(/\W+/g, "-")}`,
    title: `${measure.name[0]!.toUpperCase()}${measure.name.slice(1)} by ${axis.title}`,
    caption: `${bestOf(measure)} Bands may reach beyond the plot.${missing.length === 0 ? "" : ` Crosses at the top are ${missing.length} of ${singles.length} runs without a value, which are in no mean: those that failed or never got there.`}`,
    legend: names.length > 1 ? asLines([...styles.values()]) : [],
    ...(isOne ? {} : { wide: true }),
    svg: draw(
      {
        ariaLabel: `${measure.name} against ${label}`,
        ...(isOne ? {} : { width: FULL }),
        marginRight: isOne ? roomFor(names) : 14,
        ...(isOne ? {} : { marginLeft: 66, marginTop: 34 }),
        x: { label: `${label} →`, labelArrow: null, ...onScale(placed.map(({ x }) => x)) },
        y: { ...yLabel(unit.label, isOne), grid: true, nice: true, zero: unit.zero, domain },
        ...(isOne ? {} : { fx: { label: null, domain: panels } }),
        marks: [
          ...marks,
          Plot.dot(
            singles.filter(({ value }) => value !== null),
            { x: "x", y: ({ value }) => scaled(value!), ...facet, r: 1.8, fill, fillOpacity: 0.55, title: "told" },
          ),
          Plot.dot(missing, {
            ...{ x: "x", ...facet, frameAnchor: "top", symbol: "times", r: 4, stroke: fill, strokeWidth: 1.6 },
            title: "told",
          }),
        ],
      },
      isOne && names.length > 1
        ? endLabels(lines, { x: ({ x }) => x, y: ({ mean }) => scaled(mean) }).map((found) => ({
            ...found,
            text: shorten(found.text),
          }))
        : [],
    ),
  };
}

const bands = 7;

/** One panel for each other place; the colour goes from the best mean of the plot to its worst. */
function heatMap(x: AxisFacts, y: AxisFacts, { axes, groups, compared }: Comparison): Figure {
  const found = groups.flatMap((group) => {
    const values = group.runs.map((run) => finiteOf(compared, run) ?? Number.NaN);
    const [atX, atY] = [group.at[x.id], group.at[y.id]];
    if (atX === undefined || atY === undefined) return [];
    const { line, panel } = seriesOf(group, [x, y], axes);
    const mean = estimate(values, compared.form)?.mean ?? null;
    const place = [line, panel].filter((text) => text !== "").join(", ");
    return [{ x: shortLabel(atX, x), y: shortLabel(atY, y), mean, place }];
  });
  const means = found.flatMap(({ mean }) => mean ?? []);
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const worst = compared.better === "high" ? least : most;
  const bandOf = (mean: number): number =>
    least === most ? 3 : Math.min(bands - 1, Math.floor((bands * Math.abs(mean - worst)) / (most - least)));
  const cells = found.map((cell) => ({
    ...cell,
    fill: cell.mean === null ? "none" : `var(--load${bandOf(cell.mean)})`,
    ink: cell.mean !== null && Math.abs(bandOf(cell.mean) - 3) === 3 ? "var(--load-ink)" : "currentColor",
    text: cell.mean === null ? "×" : compared.write(cell.mean),
  }));
  const panels = [...new Set(cells.map(({ place }) => place))];
  const perRow = Math.min(3, panels.length);
  const facet = {
    fx: ({ place }: { place: string }) => panels.indexOf(place) % perRow,
    fy: ({ place }: { place: string }) => Math.floor(panels.indexOf(place) / perRow),
  };
  const rows = Math.ceil(panels.length / perRow);
  const titles = panels.map((place) => ({ place }));
  return {
    id: "map",
    title: `${compared.name[0]!.toUpperCase()}${compared.name.slice(1)} by ${x.title} and ${y.title}`,
    caption: `Means over seeds, from the worst in orange to the best in blue. ${bestOf(compared)} × is a place where every run failed; what was not run is left out.`,
    legend: [],
    wide: true,
    svg: draw({
      ariaLabel: `heat map of ${compared.name} by ${x.title} and ${y.title}`,
      width: FULL,
      height: 70 + rows * (50 + 34 * y.levels.length),
      marginTop: 44,
      marginLeft: 50 + 7 * Math.max(...y.levels.map((one) => shortLabel(one, y).length)),
      x: {
        label: `${x.title} →`,
        labelArrow: null,
        type: "band",
        domain: x.levels.map((one) => shortLabel(one, x)),
        padding: 0.04,
      },
      y: {
        ...yLabel(y.title, false),
        type: "band",
        domain: y.levels.map((one) => shortLabel(one, y)).reverse(),
        padding: 0.06,
      },
      fx: { axis: null, padding: 0.12 },
      fy: { axis: null, padding: 0.3 },
      marks: [
        Plot.cell(cells, { x: "x", y: "y", ...facet, fill: fixed("fill"), rx: 3 }),
        Plot.text(cells, { x: "x", y: "y", ...facet, text: "text", fill: fixed("ink") }),
        Plot.text(titles, { ...facet, text: "place", frameAnchor: "top-left", dy: -14, fontWeight: 600 }),
      ],
    }),
  };
}

/** `alpha 0.1` on an axis that is called so is `0.1`. */
const shortLabel = ({ label }: Coordinate, { title }: AxisFacts): string =>
  label.startsWith(`${title} `) ? label.slice(title.length + 1) : label;
