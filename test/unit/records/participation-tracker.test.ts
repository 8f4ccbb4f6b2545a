import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError } from "../../../src/base/errors.ts";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { millis, seconds } from "../../../src/base/units.ts";
import { type ParticipationRow, rowOf } from "../../../src/records/participation.ts";
import { ParticipationTracker } from "../../../src/records/participation-tracker.ts";
import { buildFleet } from "../../../src/sim/fleet/devices.ts";
import { threeTiers } from "../../support/scenarios.ts";

const fleet = buildFleet({ tiers: threeTiers }, { examplesPerClient: 1, tokensPerExample: 1 }, new Rng(1));
const p = participationId;
const at = millis;

function books(deadline: number | null = 60_000) {
  const rows: ParticipationRow[] = [];
  const tracker = new ParticipationTracker({
    deadline: deadline === null ? null : millis(deadline),
    onEnded: (ended) => void rows.push(rowOf(ended, fleet)),
  });
  tracker.roundBegan(at(0));
  tracker.invited(part(0, 3), at(0));
  return { tracker, rows };
}

const lost = (participation: number, phase: "training" | "acknowledge") => ({
  client: clientId(3),
  participation: p(participation),
  round: round(1),
  phase,
  reason: "dropout",
  at: at(50),
});

const part = (participation: number, client: number) => ({
  participation: p(participation),
  client: clientId(client),
  round: round(1),
});

test("a participation that was counted has all its instants", () => {
  const { tracker, rows } = books();
  tracker.passed("download", p(0), at(10));
  tracker.passed("training", p(0), at(20));
  tracker.passed("upload", p(0), at(30));
  tracker.counted(p(0), at(40));
  assert.deepEqual(rows, [
    {
      participation: 0,
      client: "c-003",
      tier: "phone",
      round: 1,
      budget: 1,
      invitedAt: 0,
      downloadedAt: 10,
      trainedAt: 20,
      arrivedAt: 30,
      endedAt: 40,
      outcome: "counted",
    },
  ]);
  assert.equal(tracker.outstanding, 0);
});

test("whom the server gives up has dropped out if its part was lost, and is late if not", () => {
  const { tracker, rows } = books();
  tracker.invited(part(1, 4), at(0));
  tracker.lost(lost(0, "training"));
  tracker.gaveUp(p(0), at(60));
  tracker.gaveUp(p(1), at(60));
  assert.deepEqual(
    rows.map(({ outcome, phase, reason, lostAt, endedAt }) => [outcome, phase, reason, lostAt, endedAt]),
    [
      ["dropped", "training", "dropout", 50, 60],
      ["late", undefined, "deadline", undefined, 60],
    ],
  );
});

test("a lost acknowledgement does not undo a participation", () => {
  const { tracker, rows } = books();
  tracker.passed("upload", p(0), at(30));
  tracker.lost(lost(0, "acknowledge"));
  tracker.counted(p(0), at(40));
  assert.equal(rows[0]!.outcome, "counted");
});

test("an update counted twice stops the run", () => {
  const { tracker } = books();
  tracker.passed("upload", p(0), at(30));
  tracker.counted(p(0), at(40));
  assert.throws(() => tracker.counted(p(0), at(40)), InvariantError);
});

test("an update counted after its deadline stops the run", () => {
  const { tracker } = books();
  tracker.passed("upload", p(0), seconds(61));
  assert.throws(() => tracker.counted(p(0), seconds(61)), /arrived at 1m01s, after its deadline, and was counted/);
});

test("an update counted from a client that was gone, or that never came, stops the run", () => {
  const first = books();
  first.tracker.lost(lost(0, "training"));
  first.tracker.passed("upload", p(0), at(60));
  assert.throws(() => first.tracker.counted(p(0), at(60)), /was gone in training/);
  const second = books();
  assert.throws(() => second.tracker.counted(p(0), at(60)), /never arrived/);
});

test("invitations are numbered without gaps", () => {
  const { tracker } = books();
  assert.throws(() => tracker.invited(part(2, 0), at(0)), /participation 2 follows 0/);
});

test("a tracker that was written down goes on as if nothing had been", () => {
  const { tracker } = books();
  tracker.passed("upload", p(0), at(30));
  const copy = books();
  copy.tracker.restore(structuredClone(tracker.snapshot()));
  copy.tracker.counted(p(0), at(40));
  assert.equal(copy.rows[0]!.arrivedAt, 30);
});
