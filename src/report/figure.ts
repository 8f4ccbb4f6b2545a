/** A plot drawn on the server as SVG, with its legend and a caption that says what is seen. No scripts. */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import type { Style } from "./colours.ts";

export interface Figure {
  /** Anchor within the page. */
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  readonly legend: readonly LegendEntry[];
  readonly svg: string;
  /** Takes the full width of the page instead of half of it. */
  readonly wide?: boolean;
}

export interface LegendEntry extends Style {
  readonly mark: "line" | "area";
}

/** Half of the page and all of it, in the SVG's own units; close to CSS pixels on a wide screen. */
export const HALF = 560;
export const FULL = 1140;

const { document } = parseHTML("<!doctype html><html><body></body></html>");

/** A word written beside the end of a line, so that a reader need not go to the legend. */
export interface EndLabel {
  readonly text: string;
  readonly colour: string;
  /** In data units. */
  readonly x: number;
  readonly y: number;
}

/** Draws a plot and serialises it; `labels` are moved apart until none covers another. */
export function draw(options: Plot.PlotOptions & { ariaLabel: string }, labels: readonly EndLabel[] = []): string {
  const plot = Plot.plot({
    width: HALF,
    height: 300,
    marginTop: 26,
    marginLeft: 50,
    marginBottom: 38,
    ...options,
    className: "plot",
    document,
    style: { fontSize: "12px" },
  });
  plot.setAttribute("role", "img");
  const x = plot.scale("x");
  const y = plot.scale("y");
  if (labels.length > 0 && x !== undefined && y !== undefined) {
    const at = spread(
      labels.map((label) => y.apply(label.y)),
      13,
    );
    for (const [i, { text, colour, x: end }] of labels.entries()) {
      const node = document.createElementNS("http://www.w3.org/2000/svg", "text");
      const attributes = { x: x.apply(end) + 8, y: round(at[i]!), dy: "0.32em", "text-anchor": "start", fill: colour };
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
      node.setAttribute("class", "end-label");
      node.textContent = text;
      plot.appendChild(node);
    }
  }
  // Plot writes the same style element into every drawing; the page's own sheet says it once.
  plot.querySelector("style")?.remove();
  return shorten(plot.outerHTML);
}

/** Pixels to a hundredth: a report of a long run is mostly coordinates. What is written stays as it is. */
const shorten = (svg: string): string =>
  svg.replace(/="[^"]*"/g, (attribute) => attribute.replace(/\d+\.\d{3,}/g, (digits) => String(round(Number(digits)))));
const round = (pixels: number): number => Math.round(pixels * 100) / 100;

/**
 * Positions in the order given, at least `gap` apart, moved as little as a sweep can: clusters that would touch are
 * joined and centred on the mean of what they hold.
 *
 * @internal
 */
export function spread(positions: readonly number[], gap: number): number[] {
  const order = positions.map((_, i) => i).sort((a, b) => positions[a]! - positions[b]! || a - b);
  const clusters: { members: number[]; centre: number }[] = [];
  for (const i of order) {
    let cluster = { members: [i], centre: positions[i]! };
    for (let above = clusters.at(-1); above !== undefined; above = clusters.at(-1)) {
      const room = ((above.members.length + cluster.members.length) / 2) * gap;
      if (cluster.centre - above.centre >= room) break;
      clusters.pop();
      const members = [...above.members, ...cluster.members];
      cluster = { members, centre: members.reduce((sum, m) => sum + positions[m]!, 0) / members.length };
    }
    clusters.push(cluster);
  }
  const result = new Array<number>(positions.length).fill(0);
  for (const { members, centre } of clusters) {
    for (const [rank, i] of members.entries()) result[i] = centre + (rank - (members.length - 1) / 2) * gap;
  }
  return result;
}

/** One line per series, with its dash; dots that tell their values where there are few enough to aim at. */
export interface Series<T> {
  readonly style: Style;
  readonly points: readonly T[];
}

const DOTS = 60;

export function lines<T>(
  series: readonly Series<T>[],
  { x, y, title }: { x: (point: T) => number; y: (point: T) => number; title: (point: T) => string },
): Plot.Markish[] {
  return series.flatMap(({ style: { colour, dash }, points }) => {
    const stroke = { stroke: colour, strokeWidth: 2, ...(dash === null ? {} : { strokeDasharray: dash }) };
    const line = Plot.line([...points], { x, y, ...stroke });
    if (points.length > DOTS) return [line];
    return [line, Plot.dot([...points], { x, y, r: 2.6, fill: colour, stroke: "var(--panel)", strokeWidth: 1, title })];
  });
}

/** The label at the end of each line that has one finite value to end on. */
export function endLabels<T>(
  series: readonly Series<T>[],
  { x, y }: { x: (point: T) => number; y: (point: T) => number },
): EndLabel[] {
  return series.flatMap(({ style, points }) => {
    const last = points.findLast((point) => Number.isFinite(y(point)));
    return last === undefined ? [] : [{ text: style.label, colour: style.colour, x: x(last), y: y(last) }];
  });
}

/** One bar of a stack: `parts` in stacking order, from the axis outwards. */
export interface Stack {
  readonly x1: number;
  readonly x2: number;
  readonly parts: readonly { readonly style: Style; readonly value: number; readonly title: string }[];
}

export function stackedBars(stacks: readonly Stack[]): Plot.Markish {
  const rects = stacks.flatMap(({ x1, x2, parts }) => {
    let top = 0;
    return parts.flatMap(({ style, value, title }) => {
      if (value === 0) return [];
      const y1 = top;
      top += value;
      return [{ x1, x2, y1, y2: top, colour: style.colour, title }];
    });
  });
  // Bars keep a hairline between them only while they are wide enough to spare it.
  const inset = stacks.length > 80 ? 0 : 0.75;
  return Plot.rect(rects, {
    x1: "x1",
    x2: "x2",
    y1: "y1",
    y2: "y2",
    fill: { value: "colour", scale: null },
    insetLeft: inset,
    insetRight: inset,
    title: "title",
  });
}

export const asLines = (styles: readonly Style[]): LegendEntry[] => styles.map((style) => ({ ...style, mark: "line" }));
export const asAreas = (styles: readonly Style[]): LegendEntry[] => styles.map((style) => ({ ...style, mark: "area" }));
