/** Plots of who took part: outcomes per round and tier, bytes on the wire, distinct clients reached. */
import * as Plot from "@observablehq/plot";
import { max, median } from "simple-statistics";
import { formatBytes, formatShare, formatTime } from "../base/units.ts";
import { type Outcome, outcomes } from "../records/counts.ts";
import type { RoundMetrics, TierMetrics } from "../records/metrics.ts";
import { tierTotals } from "../records/totals.ts";
import { outcomeStyle, type Palette, seriesStyle } from "./colours.ts";
import { asAreas, asLines, draw, endLabels, type Figure, FULL, lines, stackedBars } from "./figure.ts";
import { binned, bins, byteUnit, percent, roundName, roundTicks, shareOf, timeUnit, whole } from "./numbers.ts";

const BARS = 120;

/** @param rounds those after the base model; at least one */
export function fleetFigures(rounds: readonly RoundMetrics[], palette: Palette, clients: number): Figure[] {
  const seen = outcomes.filter((outcome) => rounds.some((row) => row[outcome] > 0));
  return [
    outcomesByRound(rounds, seen),
    sharesByTier(rounds, palette, seen),
    durations(rounds),
    traffic(rounds),
    reach(rounds, clients),
  ];
}

function outcomesByRound(rounds: readonly RoundMetrics[], seen: readonly Outcome[]): Figure {
  const groups = bins(rounds, BARS);
  const stacks = groups.map((group) => ({
    ...edges(group),
    parts: seen.map((outcome) => {
      const value = group.reduce((sum, row) => sum + row[outcome], 0) / group.length;
      return { style: outcomeStyle(outcome), value, title: `${nameOf(group)}: ${Number(value.toFixed(1))} ${outcome}` };
    }),
  }));
  const untouched = rounds.filter(({ aggregated }) => !aggregated).map(({ round }) => round);
  const kept =
    untouched.length === 0
      ? ""
      : ` ${untouched.length === 1 ? "One round" : `${whole(untouched.length)} rounds`} closed with too few updates and left the adapter untouched (triangles).`;
  return {
    id: "outcomes-by-round",
    title: "How invitations ended, round by round",
    caption: `Every invitation ends in exactly one outcome; only counted updates reach the adapter.${binned(groups, "Each bar")}${kept}`,
    legend: asAreas(seen.map(outcomeStyle)),
    svg: draw({
      ariaLabel: "participations per round, stacked by outcome",
      width: FULL,
      height: 280,
      x: { label: "round →", labelArrow: null, ...roundTicks(rounds) },
      y: { label: "↑ participations per round", labelArrow: null, grid: true },
      marks: [
        stackedBars(stacks),
        Plot.dot(untouched.slice(0, 500), {
          x: (round: number) => round,
          y: 0,
          dy: 6,
          r: 3,
          symbol: "triangle",
          fill: "currentColor",
          title: (round: number) => `${roundName(round)}: adapter untouched`,
        }),
        Plot.ruleY([0]),
      ],
    }),
    wide: true,
  };
}

function sharesByTier(rounds: readonly RoundMetrics[], { tiers }: Palette, seen: readonly Outcome[]): Figure {
  const totals = tierTotals(rounds);
  const rows = [...tiers].flatMap(([tier, { label }]) => {
    const total = totals.get(tier);
    return total === undefined || total.invited === 0 ? [] : [{ label, total }];
  });
  const parts = rows.flatMap(({ label, total }) => {
    let left = 0;
    return seen.map((outcome) => {
      const share = total[outcome] / total.invited;
      const x1 = left;
      left += share * 100;
      const { colour } = outcomeStyle(outcome);
      const title = `${label}: ${whole(total[outcome])} of ${whole(total.invited)} ${outcome} (${percent(share)})`;
      const text = share >= 0.09 ? formatShare(share, 0) : "";
      return { label, x1, x2: left, middle: (x1 + left) / 2, text, colour, title };
    });
  });
  return {
    id: "shares-by-tier",
    title: "How invitations ended, by tier",
    caption: `Shares over the whole run; at the right, how often the tier was invited. ${unevenness(rows)}`,
    legend: asAreas(seen.map(outcomeStyle)),
    svg: draw({
      ariaLabel: "share of participations by outcome, per tier",
      height: Math.max(110, 50 + rows.length * 38),
      marginTop: 6,
      marginLeft: 14 + 6.6 * Math.max(4, ...rows.map(({ label }) => label.length)),
      marginRight: 62,
      x: { label: "share of invitations (%) →", labelArrow: null, domain: [0, 100] },
      y: { label: null, tickSize: 0, domain: rows.map(({ label }) => label) },
      marks: [
        Plot.barX(parts, {
          x1: "x1",
          x2: "x2",
          y: "label",
          fill: { value: "colour", scale: null },
          inset: 0.5,
          title: "title",
        }),
        Plot.text(parts, { x: "middle", y: "label", text: "text", fill: "var(--on-fill)", fontWeight: 600 }),
        Plot.text(rows, {
          x: 100,
          y: "label",
          text: ({ total }: (typeof rows)[number]) => `× ${whole(total.invited)}`,
          dx: 8,
          textAnchor: "start",
          fill: "var(--muted)",
        }),
      ],
    }),
  };
}

function unevenness(rows: readonly { readonly label: string; readonly total: TierMetrics }[]): string {
  if (rows.length < 2) return "";
  const ranked = [...rows].sort((a, b) => a.total.counted / a.total.invited - b.total.counted / b.total.invited);
  const [least, most] = [ranked[0]!, ranked.at(-1)!];
  const share = ({ total }: (typeof rows)[number]) => shareOf(total.counted, total.invited);
  return `${most.label} counts most often (${share(most)}), ${least.label} least (${share(least)}).`;
}

function durations(rounds: readonly RoundMetrics[]): Figure {
  const lengths = rounds.map(({ startedAt, closedAt }) => closedAt - startedAt);
  const longest = max(lengths);
  const time = timeUnit(longest);
  const groups = bins(rounds, BARS);
  const stacks = groups.map((group) => {
    const mean = group.reduce((sum, { startedAt, closedAt }) => sum + closedAt - startedAt, 0) / group.length;
    const title = `${nameOf(group)}: ${formatTime(mean)}`;
    return { ...edges(group), parts: [{ style: seriesStyle(6, "duration"), value: mean / time.divisor, title }] };
  });
  return {
    id: "durations",
    title: "How long rounds took",
    caption: `Virtual time from a round's first invitation to its closing: median ${formatTime(median(lengths))}, longest ${formatTime(longest)}.${binned(groups, "Each bar")}`,
    legend: [],
    svg: draw({
      ariaLabel: "virtual time each round took",
      height: 220,
      x: { label: "round →", labelArrow: null, ...roundTicks(rounds) },
      y: { label: `↑ virtual time (${time.unit})`, labelArrow: null, grid: true, nice: true },
      marks: [stackedBars(stacks), Plot.ruleY([0])],
    }),
  };
}

function traffic(rounds: readonly RoundMetrics[]): Figure {
  const last = rounds.at(-1)!;
  const time = timeUnit(last.closedAt);
  const size = byteUnit(Math.max(last.downloadBytes, last.uploadBytes));
  const points = thin(rounds);
  const series = [
    { style: seriesStyle(0, "down"), points: points.map((row) => ({ row, bytes: row.downloadBytes })) },
    { style: seriesStyle(2, "up"), points: points.map((row) => ({ row, bytes: row.uploadBytes })) },
  ];
  type Sent = { readonly row: RoundMetrics; readonly bytes: number };
  const x = ({ row }: Sent) => row.closedAt / time.divisor;
  const y = ({ bytes }: Sent) => bytes / size.divisor;
  const title = ({ row, bytes }: Sent) => `${roundName(row.round)}, ${formatTime(row.closedAt)}: ${formatBytes(bytes)}`;
  return {
    id: "traffic",
    title: "Bytes sent",
    caption: `Sent since the run began, envelopes and tensors, lost messages included: ${formatBytes(last.downloadBytes)} to clients (down) and ${formatBytes(last.uploadBytes)} to the server (up).`,
    legend: asLines(series.map(({ style }) => style)),
    svg: draw(
      {
        ariaLabel: "bytes sent to and from clients over virtual time",
        height: 260,
        marginRight: 52,
        x: { label: `virtual time (${time.unit}) →`, labelArrow: null },
        y: { label: `↑ sent (${size.unit})`, labelArrow: null, grid: true, zero: true, nice: true },
        marks: lines(series, { x, y, title }),
      },
      endLabels(series, { x, y }),
    ),
  };
}

function reach(rounds: readonly RoundMetrics[], clients: number): Figure {
  const last = rounds.at(-1)!;
  const series = [{ style: seriesStyle(1, "distinct clients"), points: thin(rounds) }];
  const x = ({ round }: RoundMetrics) => round;
  const y = ({ distinctClients }: RoundMetrics) => distinctClients;
  // A million idle clients would flatten the line to nothing; the caption tells their number instead.
  const near = clients <= 4 * last.distinctClients;
  const fleet = near ? [Plot.ruleY([clients], { stroke: "var(--muted)", strokeDasharray: "4 4" })] : [];
  const share = `${whole(clients)} in the fleet (${shareOf(last.distinctClients, clients)})`;
  return {
    id: "reach",
    title: "Clients heard at least once",
    caption: `Distinct clients with at least one counted update: ${whole(last.distinctClients)} of ${share} by the end.${near ? " The dashed line is the whole fleet." : ""}`,
    legend: [],
    svg: draw({
      ariaLabel: "distinct clients ever counted over rounds",
      height: 260,
      x: { label: "round →", labelArrow: null, ...roundTicks(rounds) },
      y: { label: "↑ distinct clients ever counted", labelArrow: null, grid: true, zero: true, nice: true },
      marks: [
        ...fleet,
        ...lines(series, {
          x,
          y,
          title: ({ round, distinctClients }) => `${roundName(round)}: ${whole(distinctClients)} clients`,
        }),
      ],
    }),
  };
}

/** At most 300 rows, always with the last: more points than pixels add bytes and nothing else. */
function thin(rounds: readonly RoundMetrics[]): RoundMetrics[] {
  return bins(rounds, 300).map((group) => group.at(-1)!);
}

export const edges = (group: readonly RoundMetrics[]): { x1: number; x2: number } => ({
  x1: group[0]!.round - 0.5,
  x2: group.at(-1)!.round + 0.5,
});

export const nameOf = (group: readonly RoundMetrics[]): string =>
  group.length === 1 ? roundName(group[0]!.round) : `rounds ${group[0]!.round}–${group.at(-1)!.round}`;
