import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { days, hours, minutes, seconds } from "../../src/base/units.ts";
import { fedbuff, semiSynchronous } from "../../src/fl/policies/registry.ts";
import { readLines } from "../../src/folder/line-file.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { run } from "../../src/run/run.ts";
import { digestOfLines, type TraceRow } from "../../src/sim/kernel/trace.ts";
import { temporaryFolder } from "../support/folders.ts";
import { threeTiers, timingOnly } from "../support/scenarios.ts";
import { stormy } from "../support/weather.ts";

const seeds = 40;

/** These tests do not resume, and waiting for the disk is slow. */
const rarely = { every: 1_000 };

test("in the foulest weather every invitation ends exactly once, in time, and the run finishes", async (t) => {
  const folder = temporaryFolder(t);
  const outcomes = { counted: 0, late: 0, dropped: 0, rejected: 0 };
  for (let seed = 1; seed <= seeds; seed++) {
    const out = join(folder, String(seed));
    // The ledger checks the rules while the run goes on; here its books are audited.
    const { rows } = await run(stormy(seed, { checkpoints: rarely }), { out });
    const parts = readLines<ParticipationRow>(join(out, "participations.jsonl"));
    const invited = rows.reduce((sum, row) => sum + row.invited, 0);
    assert.equal(parts.length, invited, `seed ${seed}`);
    const numbers = parts.map(({ participation }) => participation).sort((a, b) => a - b);
    assert.deepEqual(
      numbers,
      numbers.map((_, at) => at),
      `seed ${seed}`,
    );
    for (const { outcome, invitedAt, downloadedAt, trainedAt, arrivedAt, endedAt } of parts) {
      outcomes[outcome]++;
      const instants = [invitedAt, downloadedAt, trainedAt, arrivedAt, endedAt].filter((at) => at !== null);
      assert.deepEqual(
        instants,
        instants.toSorted((a, b) => a - b),
        `seed ${seed}`,
      );
      if (outcome === "counted") assert.notEqual(arrivedAt, null);
    }
    for (const { counted, late, dropped, rejected, tiers } of rows) {
      const ended = tiers.reduce((sum, tier) => sum + tier.counted + tier.late + tier.dropped + tier.rejected, 0);
      assert.equal(ended, counted + late + dropped + rejected);
    }
  }
  for (const [outcome, count] of Object.entries(outcomes)) assert.ok(count > 0, `nobody was ${outcome}`);
});

test("two runs in a row have one digest, and it is that of the event log", async (t) => {
  const out = join(temporaryFolder(t), "run");
  const first = await run(stormy(8), { out });
  const second = await run(stormy(8), { out: null });
  const other = await run(stormy(13), { out: null });
  assert.equal(first.digest, second.digest);
  assert.notEqual(first.digest, other.digest);
  const lines = readLines<TraceRow>(join(out, "events.jsonl")).map((row) => JSON.stringify(row));
  assert.equal(await digestOfLines(lines), first.digest);
});

test("time never goes back in the event log", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await run(stormy(6), { out });
  const times = readLines<TraceRow>(join(out, "events.jsonl")).map((row) => row.t);
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  );
});

test("a server without a deadline hears of broken connections and does not wait for ever", async () => {
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 0.5 }));
  const rounds = { count: 5, cohort: 8, minUpdates: 1 };
  const { rows } = await run(timingOnly({ fleet, rounds }), { out: null });
  assert.equal(rows.length, 6);
  assert.ok(rows.slice(1).every(({ counted, dropped, late }) => counted + dropped === 8 && late === 0));
});

test("a server with a deadline closes the round then, and counts who is in time", async () => {
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 0.5 }));
  const rounds = { count: 5, cohort: 8, deadline: seconds(90), minUpdates: 1 };
  const { rows } = await run(timingOnly({ fleet, rounds }), { out: null });
  for (const { startedAt, closedAt, counted, dropped } of rows.slice(1)) {
    assert.ok(closedAt - startedAt <= 90_000);
    if (dropped > 0) assert.equal(closedAt - startedAt, 90_000, "the server cannot know that a client dropped out");
    else assert.equal(counted, 8);
  }
});

test("a round nobody is there for is abandoned after its patience, and the next one tries again", async () => {
  const away = {
    type: "trace" as const,
    period: days(10),
    devices: [[[days(5), days(6)]]],
    assignment: "cycle" as const,
  };
  const rounds = { count: 2, cohort: 4, deadline: minutes(1), patience: minutes(30) };
  const { rows } = await run(timingOnly({ world: { availability: [away as never] }, rounds }), { out: null });
  assert.deepEqual(
    rows.slice(1).map(({ invited, aggregated, startedAt, closedAt }) => [invited, aggregated, closedAt - startedAt]),
    [
      [0, false, minutes(30)],
      [0, false, minutes(30)],
    ],
  );
});

test("when everybody has left for good, the run ends at once", async () => {
  const world = { churn: { meanStay: minutes(1) } };
  for (const policy of [
    undefined,
    fedbuff({ concurrency: 6, buffer: 4 }),
    semiSynchronous({ period: 30_000, concurrency: 8 }),
  ]) {
    const rounds = { count: 300, cohort: 8, deadline: minutes(1), ...(policy === undefined ? {} : { policy }) };
    const { rows, virtualTime } = await run(timingOnly({ world, rounds }), { out: null });
    assert.equal(rows.length, 301);
    assert.ok(rows.some(({ aggregated }) => aggregated));
    assert.ok(virtualTime < hours(1), String(virtualTime));
    assert.deepEqual([rows.at(-1)!.invited, rows.at(-1)!.aggregated], [0, false]);
  }
});

test("clients that work all the time are replaced as they answer: staleness is (C − 1) / M on average", async (t) => {
  const out = join(temporaryFolder(t), "run");
  const fleet = [{ name: "equal", clients: 40, budget: 1, tokensPerSecond: 100, uplink: 1e9, latency: 1 }];
  const policy = fedbuff({ concurrency: 10, buffer: 4 });
  await run(timingOnly({ fleet, rounds: { count: 200, cohort: 4, policy }, checkpoints: rarely }), { out });
  const parts = readLines<ParticipationRow>(join(out, "participations.jsonl"));
  const closed = readLines<RoundMetrics>(join(out, "metrics.jsonl"));
  const versionAt = (time: number) => closed.findIndex(({ closedAt }) => closedAt >= time);
  const counted = parts.filter(({ outcome, round }) => outcome === "counted" && round > 20);
  const staleness = counted.map(({ endedAt, round }) => versionAt(endedAt) - round);
  const mean = staleness.reduce((a, b) => a + b, 0) / staleness.length;
  // (10 − 1) / 4 = 2.25. An arrival that closes a round starts on the new version, which takes up to 1/M off.
  assert.ok(Math.abs(mean - 2.25) < 0.3, `mean staleness ${mean}`);
});

test("a minimum gap keeps a client out of the rounds after its invitation", async (t) => {
  const out = join(temporaryFolder(t), "run");
  const rounds = { count: 8, cohort: 6, deadline: minutes(1), minimumGap: 2 };
  await run(timingOnly({ rounds }), { out });
  const last = new Map<string, number>();
  for (const { client, round } of readLines<ParticipationRow>(join(out, "participations.jsonl")).sort(
    (a, b) => a.participation - b.participation,
  )) {
    assert.ok(round - (last.get(client) ?? -10) > 2, `${client} in round ${round}`);
    last.set(client, round);
  }
});
