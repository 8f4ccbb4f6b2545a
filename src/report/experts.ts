/** Plots of what FLAME is about: which experts the fleet activates, and whom each aggregate listens to. */
import * as Plot from "@observablehq/plot";
import { quantileSorted } from "simple-statistics";
import type { RoundMetrics } from "../records/metrics.ts";
import type { Palette, Style } from "./colours.ts";
import { asAreas, draw, type Figure, FULL, HALF, lines, stackedBars } from "./figure.ts";
import { edges, nameOf } from "./fleet.ts";
import { binned, bins, percent, roundTicks, whole } from "./numbers.ts";

/** Bounds of load relative to an even share, and what lies between them; fixed, so that runs can be compared. */
const BOUNDS = [0.25, 0.5, 0.8, 1.25, 2, 4];
const LOADS: readonly Style[] = ["< ¼", "¼ – ½", "½ – 0.8", "even", "1.25 – 2", "2 – 4", "> 4 ×"].map((label, i) => ({
  label,
  colour: `var(--load${i})`,
  dash: null,
}));
const CELLS = 3_000;

interface Cell {
  readonly layer: number;
  readonly expert: number;
  readonly share: number;
  /** Share × experts: 1 when every expert of the layer gets as many tokens. */
  readonly load: number;
}

/** Final heat map, its history, and how concentrated each layer is; none without training. */
export function activationFigures(rounds: readonly RoundMetrics[]): Figure[] {
  const trained = rounds.filter(({ activation }) => activation.some((layer) => layer.length > 0));
  if (trained.length === 0) return [];
  const layers = trained.at(-1)!.activation.length;
  const experts = trained.at(-1)!.activation[0]!.length;
  const most = Math.min(40, Math.floor(CELLS / (layers * experts)));
  const history = trained.length >= 4 && most >= 4 ? [activationHistory(trained, experts, most)] : [];
  return [finalActivation(trained, layers, experts), effectiveExperts(trained, layers, experts), ...history];
}

function finalActivation(trained: readonly RoundMetrics[], layers: number, experts: number): Figure {
  const last = trained.slice(-Math.max(1, Math.min(10, Math.floor(trained.length / 4))));
  const cells = cellsOf(last);
  const starved = cells.filter(({ load }) => load < BOUNDS[0]!).length;
  const busiest = cells.reduce((a, b) => (b.load > a.load ? b : a));
  const named = experts <= 16 && layers <= 32;
  const room = layers * experts <= 2_048;
  return {
    id: "activation",
    title: "Expert activation at the end",
    caption: `Tokens routed to each expert over counted updates of ${nameOf(last)}, relative to an even share of its layer (1). Expert ${busiest.expert} of layer ${busiest.layer} is the busiest (${busiest.load.toFixed(1)} ×, ${percent(busiest.share)} of the layer's tokens)${
      starved === 0 ? "." : `; ${starved} of ${whole(cells.length)} experts get less than a quarter of an even share.`
    }`,
    legend: asAreas(LOADS),
    svg: draw({
      ariaLabel: "heat map of expert activation, layers by experts",
      width: experts > 16 ? FULL : HALF,
      marginTop: 8,
      height: 54 + Math.min(34, Math.max(12, 420 / layers)) * layers,
      x: { label: "expert →", labelArrow: null, tickSize: 0, ...(experts > 32 ? { ticks: every(experts, 4) } : {}) },
      y: { label: "layer", labelArrow: null, tickSize: 0, ...(layers > 32 ? { ticks: every(layers, 4) } : {}) },
      marks: [
        Plot.cell(cells, {
          x: "expert",
          y: "layer",
          fill: { value: ({ load }: Cell) => colourOf(load), scale: null },
          inset: 0.5,
          rx: 2,
          ...(room ? { title: titleOf } : {}),
        }),
        ...(named
          ? [
              Plot.text(cells, {
                x: "expert",
                y: "layer",
                text: ({ load }: Cell) => (load >= 10 ? load.toFixed(0) : load.toFixed(1)),
                fill: { value: ({ load }: Cell) => inkOf(load), scale: null },
                fontSize: 11,
              }),
            ]
          : []),
      ],
    }),
    wide: experts > 16,
  };
}

/** Concentration as a number of experts: exp of the entropy of their shares, between 1 and all of them. */
function effectiveExperts(trained: readonly RoundMetrics[], layers: number, experts: number): Figure {
  const groups = bins(trained, 60);
  const rows = groups.flatMap((group) =>
    meanActivation(group).map((shares, layer) => ({ layer, round: group.at(-1)!.round, effective: effective(shares) })),
  );
  const series = Array.from({ length: layers }, (_, layer) => ({
    style: { label: `layer ${layer}`, colour: `var(--depth${depth(layer, layers)})`, dash: null },
    points: rows.filter((row) => row.layer === layer),
  }));
  const ends = [series[0]!, series.at(-1)!].map(({ style }) => style);
  return {
    id: "effective-experts",
    title: "How many experts do the work",
    caption: `Effective number of experts per layer: exp of the entropy of their token shares. ${experts} means that all work alike (dashed); 1 means that one does everything. A falling line is a fleet that narrows on few experts. Layers go from faint (first) to strong (last).`,
    legend: (layers === 1 ? ends.slice(0, 1) : layers <= 6 ? series.map(({ style }) => style) : ends).map((style) => ({
      ...style,
      mark: "line" as const,
    })),
    svg: draw({
      ariaLabel: "effective number of experts per layer over rounds",
      width: experts > 16 ? FULL : HALF,
      height: 260,
      x: { label: "round →", labelArrow: null, ...roundTicks(trained) },
      y: { label: "↑ effective experts per layer", labelArrow: null, grid: true, nice: true },
      marks: [
        Plot.ruleY([experts], { stroke: "var(--muted)", strokeDasharray: "4 4" }),
        ...lines(series, {
          x: (row) => row.round,
          y: (row) => row.effective,
          title: (row) => `round ${row.round}, layer ${row.layer}: ${row.effective.toFixed(1)} of ${experts}`,
        }),
      ],
    }),
    wide: experts > 16,
  };
}

function activationHistory(trained: readonly RoundMetrics[], experts: number, most: number): Figure {
  const groups = bins(trained, most);
  const cells = groups.flatMap((group) =>
    cellsOf(group).map((cell) => ({ ...cell, ...edges(group), name: nameOf(group) })),
  );
  const layers = trained.at(-1)!.activation.length;
  const perRow = Math.min(layers, 4);
  const bands = Math.ceil(layers / perRow);
  return {
    id: "activation-history",
    title: "Expert activation over rounds",
    caption: `The same load, one panel a layer, one row an expert, rounds from left to right.${binned(groups, "Each step")} A row that fades to orange is an expert the fleet stops using; gaps are rounds without updates.`,
    legend: asAreas(LOADS),
    svg: draw({
      ariaLabel: "heat map of expert activation over rounds, one panel per layer",
      width: FULL,
      height: 64 + bands * Math.min(320, Math.max(110, 50 + experts * 14)),
      marginTop: 16,
      marginBottom: 40,
      x: { label: "round →", labelArrow: null, inset: 2 },
      y: {
        label: "expert",
        labelArrow: null,
        tickSize: 0,
        ...(experts > 8 ? { ticks: every(experts, experts > 20 ? 4 : 2) } : {}),
      },
      fx: { label: null, axis: null, padding: 0.05 },
      fy: { label: null, axis: null, padding: 0.16 },
      marks: [
        Plot.barX(cells, {
          x1: "x1",
          x2: "x2",
          y: "expert",
          fx: ({ layer }: Cell) => layer % perRow,
          fy: ({ layer }: Cell) => Math.floor(layer / perRow),
          fill: { value: ({ load }: Cell) => colourOf(load), scale: null },
        }),
        Plot.text(
          Array.from({ length: layers }, (_, layer) => layer),
          {
            fx: (layer: number) => layer % perRow,
            fy: (layer: number) => Math.floor(layer / perRow),
            text: (layer: number) => `layer ${layer}`,
            frameAnchor: "top",
            dy: -14,
            fontWeight: 600,
          },
        ),
      ],
    }),
    wide: true,
  };
}

/** Weight of each tier in the aggregate over rounds, and of its clients against an equal share; none without weights. */
export function weightFigures(rounds: readonly RoundMetrics[], { tiers }: Palette): Figure[] {
  const weighted = rounds.filter(({ weights }) => weights.length > 0);
  if (weighted.length === 0) return [];
  const groups = bins(weighted, 100);
  const stacks = groups.map((group) => {
    const sums = new Map<string, number>();
    for (const { weights } of group) {
      for (const { tier, weight } of weights) sums.set(tier, (sums.get(tier) ?? 0) + weight / group.length);
    }
    const parts = [...tiers].map(([tier, style]) => {
      const value = (sums.get(tier) ?? 0) * 100;
      return { style, value, title: `${nameOf(group)}, ${style.label}: ${value.toFixed(1)} % of the weight` };
    });
    return { ...edges(group), parts };
  });
  return [
    {
      id: "weights-by-round",
      title: "Whose updates make up the adapter",
      caption: `Aggregation weight summed by tier, mean over experts.${binned(groups, "Each bar")} Gaps are rounds that aggregated nothing.`,
      legend: asAreas([...tiers.values()]),
      svg: draw({
        ariaLabel: "share of aggregation weight by tier over rounds",
        height: 280,
        x: { label: "round →", labelArrow: null, ...roundTicks(weighted) },
        y: { label: "↑ aggregation weight (%)", labelArrow: null, grid: true, domain: [0, 100] },
        marks: [stackedBars(stacks)],
      }),
    },
    relativeWeights(weighted, tiers),
  ];
}

/** Boxes drawn from five numbers each, however many clients stand behind them. */
function relativeWeights(weighted: readonly RoundMetrics[], tiers: Palette["tiers"]): Figure {
  const values = new Map<string, number[]>();
  for (const { weights } of weighted) {
    for (const { tier, weight } of weights) {
      const list = values.get(tier) ?? [];
      list.push(weight * weights.length);
      values.set(tier, list);
    }
  }
  const boxes = [...tiers].flatMap(([tier, { label, colour }]) => {
    const sorted = Float64Array.from(values.get(tier) ?? []).sort();
    if (sorted.length === 0) return [];
    const [low, first, middle, third, high] = [0.05, 0.25, 0.5, 0.75, 0.95].map((p) =>
      quantileSorted(sorted as unknown as number[], p),
    );
    const title = `${label}, ${whole(sorted.length)} counted updates: median ${middle!.toFixed(2)}, 5–95 % ${low!.toFixed(2)}–${high!.toFixed(2)}`;
    return [{ label, colour, low, first, middle, third, high, title }];
  });
  return {
    id: "weights-by-tier",
    title: "Weight of one update, by tier",
    caption:
      "A counted update's aggregation weight against an equal share of its round (1, dashed). Box: the middle half with the median; whiskers: 5 to 95 %.",
    legend: [],
    svg: draw({
      ariaLabel: "distribution of relative aggregation weight per tier",
      height: Math.max(130, 60 + boxes.length * 52),
      marginTop: 8,
      marginLeft: 14 + 6.6 * Math.max(4, ...boxes.map(({ label }) => label.length)),
      x: { label: "weight ÷ equal share →", labelArrow: null, grid: true, zero: true, nice: true },
      y: { label: null, tickSize: 0, padding: 0.4, domain: boxes.map(({ label }) => label) },
      marks: [
        Plot.ruleX([1], { stroke: "var(--muted)", strokeDasharray: "4 4" }),
        Plot.link(boxes, {
          x1: "low",
          x2: "high",
          y: "label",
          stroke: { value: "colour", scale: null },
          strokeWidth: 1.5,
        }),
        Plot.barX(boxes, {
          x1: "first",
          x2: "third",
          y: "label",
          fill: { value: "colour", scale: null },
          title: "title",
          rx: 2,
        }),
        Plot.tickX(boxes, { x: "middle", y: "label", stroke: "var(--panel)", strokeWidth: 2.5 }),
      ],
    }),
  };
}

function meanActivation(rounds: readonly RoundMetrics[]): number[][] {
  const [first] = rounds;
  return first!.activation.map((layer, l) =>
    layer.map((_, e) => rounds.reduce((sum, row) => sum + (row.activation[l]?.[e] ?? 0), 0) / rounds.length),
  );
}

/** Means of shares, made to sum to 1 again: a layer may have had no tokens in one of the rounds. */
function cellsOf(rounds: readonly RoundMetrics[]): Cell[] {
  return meanActivation(rounds).flatMap((shares, layer) => {
    const total = shares.reduce((sum, share) => sum + share, 0);
    return shares.map((value, expert) => {
      const share = total === 0 ? 0 : value / total;
      return { layer, expert, share, load: share * shares.length };
    });
  });
}

function effective(shares: readonly number[]): number {
  const total = shares.reduce((sum, share) => sum + share, 0);
  const entropy = shares.reduce((sum, share) => (share > 0 ? sum - (share / total) * Math.log(share / total) : sum), 0);
  return Math.exp(entropy);
}

const bandOf = (load: number): number => BOUNDS.filter((bound) => load >= bound).length;
const colourOf = (load: number): string => LOADS[bandOf(load)]!.colour;
const inkOf = (load: number): string => (Math.abs(bandOf(load) - 3) === 3 ? "var(--load-ink)" : "currentColor");
const titleOf = ({ layer, expert, share, load }: Cell): string =>
  `layer ${layer}, expert ${expert}: ${percent(share)} of the tokens, ${load.toFixed(2)} × even`;
const every = (length: number, step: number): number[] =>
  Array.from({ length: Math.ceil(length / step) }, (_, i) => i * step);
const depth = (layer: number, layers: number): number => (layers === 1 ? 3 : Math.round((layer / (layers - 1)) * 3));
