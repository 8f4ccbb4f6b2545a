/** Client tracks: who was busy when in the first rounds, one row a client; and where the fleet's time goes, per tier. */
import * as Plot from "@observablehq/plot";
import { max, median } from "simple-statistics";
import { formatTime } from "../base/units.ts";
import { outcomes } from "../records/counts.ts";
import type { RoundMetrics } from "../records/metrics.ts";
import type { ParticipationRow } from "../records/participation.ts";
import { type Stage, timedStages } from "../sim/flight/stages.ts";
import { outcomeStyle, type Palette } from "./colours.ts";
import { asAreas, draw, type Figure, FULL } from "./figure.ts";
import { roundName, timeUnit, whole } from "./numbers.ts";
import { busyUntil, type Slice, slicesOf, verdict } from "./slices.ts";

const CLIENTS = 40;
const ROUNDS = 8;
const BARS = 700;
/** How strongly each stage is inked, so that a glance tells waiting for the network from work. */
const INK: Record<Slice["is"], number> = { down: 0.45, work: 1, up: 0.7 };

/** What the report keeps of `participations.jsonl`, gathered in one pass. */
export interface ParticipationSummary {
  /** Participations of the first rounds, bounded. */
  readonly first: readonly ParticipationRow[];
  readonly total: number;
  readonly tiers: ReadonlyMap<string, StageTimes>;
  /** Participations that did not count, by outcome, phase and reason, most frequent first. */
  readonly losses: readonly {
    readonly what: string;
    readonly tiers: ReadonlyMap<string, number>;
    readonly count: number;
  }[];
}

/** Median milliseconds of completed stages, of those that any participation has. */
type StageTimes = ReadonlyMap<Stage, number>;

export function summarise(rows: Iterable<ParticipationRow>): ParticipationSummary {
  const first: ParticipationRow[] = [];
  const stages = new Map<string, Map<Stage, number[]>>();
  const losses = new Map<string, Map<string, number>>();
  let total = 0;
  for (const row of rows) {
    total++;
    if (row.round <= ROUNDS && first.length < 4 * BARS) first.push(row);
    const times = stages.get(row.tier) ?? new Map<Stage, number[]>();
    stages.set(row.tier, times);
    for (const { stage, from, to, isCompleted } of slicesOf(row)) {
      const durations = times.get(stage) ?? [];
      times.set(stage, durations);
      if (isCompleted) durations.push(to - from);
    }
    if (row.outcome !== "counted") {
      const what = verdict(row);
      const tiers = losses.get(what) ?? new Map<string, number>();
      tiers.set(row.tier, (tiers.get(row.tier) ?? 0) + 1);
      losses.set(what, tiers);
    }
  }
  return {
    first,
    total,
    tiers: new Map(
      [...stages].map(([tier, times]) => [
        tier,
        new Map([...times].flatMap(([stage, all]) => (all.length === 0 ? [] : [[stage, median(all)] as const]))),
      ]),
    ),
    losses: [...losses]
      .map(([what, tiers]) => ({ what, tiers, count: [...tiers.values()].reduce((sum, n) => sum + n, 0) }))
      .sort((a, b) => b.count - a.count || (a.what < b.what ? -1 : 1)),
  };
}

/** @returns none when nobody was invited */
export function trackFigures(
  { first }: ParticipationSummary,
  rounds: readonly RoundMetrics[],
  { tiers }: Palette,
): Figure[] {
  const shown = select(first);
  if (shown.length === 0) return [];
  const tierOrder = [...tiers.keys()];
  const rank = new Map(shown.map(({ client, tier }) => [client, tierOrder.indexOf(tier)]));
  const order = [...rank.keys()].sort(
    (a, b) => rank.get(a)! - rank.get(b)! || a.localeCompare(b, "en", { numeric: true }),
  );
  const lastRound = max(shown.map(({ round }) => round));
  const inRange = rounds.filter(({ round }) => round <= lastRound);
  const until = max([...inRange.map(({ closedAt }) => closedAt), ...shown.map(busyUntil)]);
  const time = timeUnit(until);
  const bars = shown.flatMap((row) =>
    slicesOf(row).map(({ stage, is, from, to }) => ({
      client: row.client,
      x1: from / time.divisor,
      x2: to / time.divisor,
      colour: outcomeStyle(row.outcome).colour,
      ink: INK[is],
      title: `${row.client} (${row.tier}), ${roundName(row.round)}: ${stage} ${formatTime(to - from)}\n${verdict(row)}`,
    })),
  );
  const ends = shown.filter(({ outcome }) => outcome === "dropped");
  const groups = [...tiers].flatMap(([tier, { label, colour }]) => {
    const members = order.filter((client) => tierOrder[rank.get(client)!] === tier);
    return members.length === 0 ? [] : [{ client: members[Math.floor((members.length - 1) / 2)]!, label, colour }];
  });
  const borders = order.filter((client, i) => i > 0 && rank.get(client) !== rank.get(order[i - 1]!));
  return [
    {
      id: "tracks",
      title: lastRound === 1 ? "Client tracks, first round" : `Client tracks, first ${lastRound} rounds`,
      caption: `One row a client: faint is download, solid is training, half is upload, and the colour is how the participation ended; × marks where a client was lost, vertical lines are the closing of rounds. ${
        order.length < CLIENTS
          ? "Clients without an invitation in these rounds are left out."
          : `The first ${CLIENTS} clients invited are shown; timeline.json has more.`
      }`,
      legend: asAreas(outcomes.filter((outcome) => shown.some((row) => row.outcome === outcome)).map(outcomeStyle)),
      svg: draw({
        ariaLabel: "what each client did over virtual time in the first rounds",
        width: FULL,
        height: 70 + order.length * 16,
        marginLeft: 58,
        marginRight: 16 + 6.8 * Math.max(...groups.map(({ label }) => label.length)),
        x: { label: `virtual time (${time.unit}) →`, labelArrow: null, grid: true, domain: [0, until / time.divisor] },
        y: { label: "client", labelAnchor: "top", labelArrow: null, domain: order, tickSize: 0, padding: 0.22 },
        marks: [
          Plot.ruleX(inRange, {
            x: ({ closedAt }: RoundMetrics) => closedAt / time.divisor,
            stroke: "var(--muted)",
            strokeDasharray: "3 3",
          }),
          Plot.text(inRange, {
            x: ({ startedAt, closedAt }: RoundMetrics) => (startedAt + closedAt) / 2 / time.divisor,
            text: ({ round }: RoundMetrics) => roundName(round),
            frameAnchor: "top",
            dy: -12,
            fill: "var(--muted)",
          }),
          Plot.ruleY(borders, { y: (client: string) => client, dy: -8, stroke: "var(--rule)" }),
          Plot.barX(bars, {
            x1: "x1",
            x2: "x2",
            y: "client",
            fill: { value: "colour", scale: null },
            fillOpacity: { value: "ink", scale: null },
            title: "title",
          }),
          Plot.dot(ends, {
            x: (row: ParticipationRow) => busyUntil(row) / time.divisor,
            y: "client",
            symbol: "times",
            r: 3.5,
            stroke: "currentColor",
            strokeWidth: 1.5,
            title: (row: ParticipationRow) => `${row.client}, ${roundName(row.round)}: ${verdict(row)}`,
          }),
          Plot.text(groups, {
            y: "client",
            text: "label",
            frameAnchor: "right",
            textAnchor: "start",
            dx: 8,
            fill: { value: "colour", scale: null },
            fontWeight: 600,
          }),
        ],
      }),
      wide: true,
    },
  ];
}

/** Whole rounds as long as their bars fit, and of them the clients invited first. */
function select(first: readonly ParticipationRow[]): ParticipationRow[] {
  const invited = [...first].sort((a, b) => a.invitedAt - b.invitedAt || a.participation - b.participation);
  const clients = new Set<string>();
  const shown: ParticipationRow[] = [];
  for (const row of invited) {
    if (clients.size < CLIENTS) clients.add(row.client);
    if (clients.has(row.client)) shown.push(row);
  }
  let last = ROUNDS;
  const within = (round: number) => shown.filter((row) => row.round <= round);
  while (last > 1 && within(last).length * 3 > BARS) last--;
  return within(last).slice(0, BARS);
}

/** A table: a row a tier, with median times of completed stages, of those that all have or anybody has completed. */
export function stageTable({ tiers }: ParticipationSummary, order: Iterable<string>) {
  const shown = timedStages.filter(
    ({ name, isAsked }) => !isAsked || [...tiers.values()].some((times) => times.has(name)),
  );
  const cell = (value: number | undefined) => (value === undefined ? "–" : formatTime(value));
  const rows = [...order].flatMap((tier) => {
    const times = tiers.get(tier);
    return times === undefined ? [] : [[tier, ...shown.map(({ name }) => cell(times.get(name)))]];
  });
  return { head: ["tier", ...shown.map(({ name }) => name)], rows };
}

/** Rows for a table: why participations did not count, with one column a tier. */
export function lossRows({ losses }: ParticipationSummary, order: readonly string[]): string[][] {
  const rows = losses
    .slice(0, 20)
    .map(({ what, tiers, count }) => [what, ...order.map((tier) => whole(tiers.get(tier) ?? 0)), whole(count)]);
  const rest = losses.slice(20).reduce((sum, { count }) => sum + count, 0);
  return rest === 0 ? rows : [...rows, ["others", ...order.map(() => "–"), whole(rest)]];
}
