import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import type { ParticipationRow } from "../../../src/records/participation.ts";
import { readRun } from "../../../src/report/run-folder.ts";
import { timelineOf, writeTimeline } from "../../../src/report/timeline.ts";
import { fakeRun, fakeRunFolder } from "../../support/report-run-folder.ts";

function folder(t: TestContext): string {
  const path = fakeRunFolder();
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const row: ParticipationRow = {
  participation: 0,
  client: "c-003",
  tier: "workstation",
  round: 1,
  budget: 8,
  invitedAt: 1_000,
  downloadedAt: 1_500,
  trainedAt: 4_000,
  arrivedAt: 4_250,
  endedAt: 9_000,
  outcome: "counted",
};

/** Slices of participations, without the server's. */
function slices(t: TestContext, rows: readonly ParticipationRow[]) {
  const events = [...timelineOf(readRun(folder(t)), rows).events];
  return events.filter(({ ph, pid }) => ph === "X" && pid > 0);
}

test("a participation becomes a slice around its download, training and upload, in microseconds of virtual time", (t) => {
  const told = slices(t, [row]).map(({ name, ts, dur, cname }) => [name, ts, dur, cname]);
  assert.deepEqual(told, [
    ["round 1: counted", 1_000_000, 3_250_000, "good"],
    ["download", 1_000_000, 500_000, "good"],
    ["training", 1_500_000, 2_500_000, "good"],
    ["upload", 4_000_000, 250_000, "good"],
  ]);
});

test("a client that was lost in training has no upload and ends where it was lost", (t) => {
  const lost = {
    ...row,
    trainedAt: null,
    arrivedAt: null,
    lostAt: 2_000,
    outcome: "dropped",
    phase: "training",
  } as const;
  const told = slices(t, [lost]).map(({ name, ts, dur }) => [name, ts! + dur!]);
  assert.deepEqual(told, [
    ["round 1: dropped", 2_000_000],
    ["download (dropped)", 1_500_000],
    ["training (dropped)", 2_000_000],
  ]);
});

test("a client that was never reached has no stage at all", (t) => {
  const never = {
    ...row,
    downloadedAt: null,
    trainedAt: null,
    arrivedAt: null,
    lostAt: 1_000,
    outcome: "dropped",
  } as const;
  assert.equal(slices(t, [{ ...never, phase: "before-download" }]).length, 1);
});

test("participations of one client that overlap lie on two threads, so that slices nest", (t) => {
  const next = {
    ...row,
    participation: 1,
    round: 2,
    invitedAt: 4_000,
    downloadedAt: 4_100,
    trainedAt: 5_000,
    arrivedAt: 5_100,
  };
  const threads = slices(t, [row, next]).map(({ tid }) => tid);
  assert.deepEqual(threads, [1, 1, 1, 1, 2, 2, 2, 2]);
});

test("slices of a thread nest or follow one another", (t) => {
  const events = [...timelineOf(readRun(folder(t)), fakeRun().participations).events];
  const threads = new Map<string, typeof events>();
  for (const event of events.filter(({ ph }) => ph === "X")) {
    const thread = `${event.pid}/${event.tid}`;
    threads.set(thread, [...(threads.get(thread) ?? []), event]);
  }
  assert.ok(threads.size > 32);
  for (const [thread, own] of threads) {
    const open: number[] = [];
    for (const { ts, dur } of [...own].sort((a, b) => a.ts! - b.ts! || b.dur! - a.dur!)) {
      while (open.length > 0 && open.at(-1)! <= ts!) open.pop();
      assert.ok(open.length === 0 || ts! + dur! <= open.at(-1)!, `thread ${thread} at ${ts}`);
      open.push(ts! + dur!);
    }
  }
});

test("the file is a Chrome trace with a process per tier, a thread per client, rounds and counters", (t) => {
  const path = folder(t);
  assert.equal(writeTimeline(path), join(path, "timeline.json"));
  const { traceEvents, displayTimeUnit } = JSON.parse(readFileSync(join(path, "timeline.json"), "utf8"));
  assert.equal(displayTimeUnit, "ms");
  const named = (what: string) =>
    traceEvents
      .filter(({ ph, name }: { ph: string; name: string }) => ph === "M" && name === what)
      .map(({ args }: { args: { name: string } }) => args.name);
  assert.deepEqual(named("process_name"), ["server", "tier workstation", "tier laptop", "tier tablet", "tier phone"]);
  const clients = named("thread_name").filter((name: string) => /^c-\d+$/.test(name));
  assert.equal(clients.length, 32);
  assert.deepEqual([...clients].sort(), clients);
  const rounds = traceEvents.filter(({ cat }: { cat: string }) => cat === "round");
  assert.equal(rounds.length, 20);
  assert.equal(rounds[6].name, "round 7 (adapter untouched)");
  const counters = new Set(
    traceEvents.filter(({ ph }: { ph: string }) => ph === "C").map(({ name }: { name: string }) => name),
  );
  for (const name of ["outcomes per round", "bytes sent", "distinct clients counted", "held-out loss k=8"]) {
    assert.ok(counters.has(name), name);
  }
});

test("a huge fleet shows its first 500 clients and says so", (t) => {
  const rows = Array.from({ length: 2_000 }, (_, i) => ({ ...row, participation: i, client: `c-${i}` }));
  const { events: shown, note } = timelineOf(readRun(folder(t)), rows);
  const events = [...shown];
  const clients = events.filter(({ name, pid }) => name === "thread_name" && pid > 0);
  assert.equal(clients.length, 500);
  assert.match(note, /500 of 2,000 participations, of the first 500 of 2,000 participating clients/);
  assert.ok(JSON.stringify(events[0]).includes(note));
});

test("a timeline without participations is refused by the name of the file", (t) => {
  const path = folder(t);
  rmSync(join(path, "participations.jsonl"));
  assert.throws(
    () => writeTimeline(path),
    (error) => error instanceof InputError && /participations\.jsonl/.test(error.message),
  );
});
