/**
 * Run folder → `timeline.json` in the Chrome trace format, for Perfetto (ui.perfetto.dev) or chrome://tracing.
 *
 * A process per tier, a thread per client, slices for download, train and upload; process 0 is the server with its
 * rounds and counters. One microsecond of the format is one microsecond of virtual time. Perfetto colours a slice by
 * its name, so names carry the outcome; `cname` does the same for chrome://tracing.
 *
 * https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 */

import { join } from "node:path";
import { writeAtomically, writeFully } from "../base/disk.ts";
import { formatTime } from "../base/units.ts";
import type { Outcome } from "../records/counts.ts";
import { type RoundMetrics, withoutDetail } from "../records/metrics.ts";
import type { ParticipationRow } from "../records/participation.ts";
import type { TaskFacts } from "../tasks/facts.ts";
import { Lanes, micros, span, type TraceEvent } from "./lanes.ts";
import { roundName, whole } from "./numbers.ts";
import { type RunRecord, readParticipations, readRun } from "./run-folder.ts";
import { busyUntil, slicesOf, verdict } from "./slices.ts";

/** Viewers grow slow with tracks long before files grow large. */
const CLIENTS = 500;
const PARTICIPATIONS = 50_000;

const COLOURS: Record<Outcome, string> = { counted: "good", late: "bad", dropped: "terrible", rejected: "grey" };

/**
 * Writes `timeline.json` into the run folder.
 *
 * @returns its path
 * @throws InputError when a file of the run is missing or damaged, with its name and line
 */
export function writeTimeline(folder: string): string {
  const { events, note } = timelineOf(readRun(folder, withoutDetail), readParticipations(folder));
  const head = JSON.stringify({ displayTimeUnit: "ms", otherData: { clock: "virtual", note } }).slice(0, -1);
  const path = join(folder, "timeline.json");
  // A long run leaves more events than should be in memory at a time.
  writeAtomically(path, (file) => {
    let [text, position] = [`${head},"traceEvents":[`, 0];
    const flush = () => {
      const bytes = Buffer.from(text);
      writeFully(file, bytes, position);
      [text, position] = ["", position + bytes.length];
    };
    let separator = "\n";
    for (const event of events) {
      text += `${separator}${JSON.stringify(event)}`;
      separator = ",\n";
      if (text.length > 1 << 20) flush();
    }
    text += "\n]}\n";
    flush();
  });
  return path;
}

export function timelineOf(
  run: RunRecord,
  participations: Iterable<ParticipationRow>,
): { events: Generator<TraceEvent>; note: string } {
  const rows: ParticipationRow[] = [];
  const shown = new Set<string>();
  const seen = new Set<string>();
  let total = 0;
  for (const row of participations) {
    total++;
    seen.add(row.client);
    if (shown.size < CLIENTS) shown.add(row.client);
    if (shown.has(row.client) && rows.length < PARTICIPATIONS) rows.push(row);
  }
  const cut = rows.length < total;
  const note = cut
    ? `${whole(rows.length)} of ${whole(total)} participations, of the first ${whole(shown.size)} of ${whole(seen.size)} participating clients to finish one`
    : `all ${whole(total)} participations of ${whole(seen.size)} clients`;
  return { events: eventsOf(run, rows, cut ? ` (${note})` : ""), note };
}

function* eventsOf(run: RunRecord, rows: readonly ParticipationRow[], remark: string): Generator<TraceEvent> {
  yield* serverEvents(run, remark);
  for (const [index, { name }] of run.tiers.entries()) {
    yield* tierEvents(
      index + 1,
      name,
      rows.filter(({ tier }) => tier === name),
    );
  }
}

function* serverEvents({ rounds, task }: RunRecord, remark: string): Generator<TraceEvent> {
  yield { ph: "M", name: "process_name", pid: 0, tid: 0, args: { name: `server${remark}` } };
  yield { ph: "M", name: "process_sort_index", pid: 0, tid: 0, args: { sort_index: 0 } };
  const lanes = new Lanes();
  for (const row of rounds) {
    const ts = micros(row.closedAt);
    if (row.round > 0 || row.invited > 0) {
      const tid = lanes.place("rounds", row.startedAt, row.closedAt);
      const { invited, counted, late, dropped, rejected, aggregated, trainLoss } = row;
      yield {
        ...span(
          `${roundName(row.round)}${aggregated ? "" : " (adapter untouched)"}`,
          row.startedAt,
          row.closedAt,
          0,
          tid,
        ),
        cat: "round",
        args: { invited, counted, late, dropped, rejected, aggregated, trainLoss },
      };
      yield { ph: "C", name: "outcomes per round", pid: 0, tid: 0, ts, args: { counted, late, dropped, rejected } };
    }
    const { downloadBytes: down, uploadBytes: up, distinctClients } = row;
    yield { ph: "C", name: "bytes sent", pid: 0, tid: 0, ts, args: { down, up } };
    yield { ph: "C", name: "distinct clients counted", pid: 0, tid: 0, ts, args: { clients: distinctClients } };
    yield* evaluationCounters(row, task, ts);
  }
  yield* lanes.names(0);
}

function evaluationCounters({ evaluations }: RoundMetrics, task: TaskFacts, ts: number): TraceEvent[] {
  const { title, of } = task.metrics[0];
  const { symbol } = task.budget;
  return evaluations
    .filter(({ loss }) => Number.isFinite(loss))
    .flatMap((result) => [
      { ph: "C", name: `held-out loss ${symbol}=${result.budget}`, pid: 0, tid: 0, ts, args: { nats: result.loss } },
      { ph: "C", name: `${title} ${symbol}=${result.budget}`, pid: 0, tid: 0, ts, args: { share: of(result) } },
    ]);
}

function* tierEvents(pid: number, tier: string, rows: readonly ParticipationRow[]): Generator<TraceEvent> {
  if (rows.length === 0) return;
  const lanes = new Lanes();
  const ordered = [...rows].sort((a, b) => a.invitedAt - b.invitedAt || a.participation - b.participation);
  const byName = [...new Set(ordered.map(({ client }) => client))].sort((a, b) =>
    a.localeCompare(b, "en", { numeric: true }),
  );
  for (const client of byName) lanes.open(client);
  const threads = ordered.map((row) => lanes.place(row.client, row.invitedAt, busyUntil(row)));
  yield { ph: "M", name: "process_name", pid, tid: 0, args: { name: `tier ${tier}` } };
  yield { ph: "M", name: "process_sort_index", pid, tid: 0, args: { sort_index: pid } };
  yield* lanes.names(pid);
  for (const [at, row] of ordered.entries()) {
    const { invitedAt, endedAt, outcome, round, participation, budget } = row;
    const tid = threads[at]!;
    const cname = COLOURS[outcome];
    const suffix = outcome === "counted" ? "" : ` (${outcome})`;
    yield {
      ...span(`${roundName(round)}: ${outcome}`, invitedAt, busyUntil(row), pid, tid),
      cat: outcome,
      cname,
      args: { participation, budget, ending: verdict(row), settled: formatTime(endedAt) },
    };
    for (const { stage, from, to } of slicesOf(row)) {
      yield { ...span(`${stage}${suffix}`, from, to, pid, tid), cat: outcome, cname, args: { round } };
    }
  }
}
