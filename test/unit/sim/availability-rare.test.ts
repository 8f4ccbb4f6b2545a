/** On nearly always, or nearly never: thousands of times the state is drawn anew before it changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { hours, minutes } from "../../../src/base/units.ts";
import { type AvailabilitySpec, availabilityOf } from "../../../src/sim/availability/availability.ts";
import { equalFleet } from "../../support/sim-world.ts";

const model = (spec: AvailabilitySpec, size: number) => availabilityOf([spec], equalFleet({ size }), new Rng(7))!;
const clients = (size: number) => Array.from({ length: size }, (_, row) => clientId(row));

/** Four standard errors of a share found among so many. */
const tolerance = (share: number, size: number) => 4 * Math.sqrt((share * (1 - share)) / size);

for (const [onShare, length] of [
  [0.9999, hours(1)],
  [0.99999, minutes(30)],
] as const) {
  test(`a task outlasts what is left of a stretch as exp(−d / meanOn) says, where the share on is ${onShare}`, () => {
    const size = 4_000;
    const availability = model({ type: "two-state", onShare, meanOn: minutes(20) }, size);
    const start = hours(50);
    const uncut = clients(size).filter((client) => availability.onUntil(client, start) >= start + length).length;
    const expected = Math.exp(-length / minutes(20));
    assert.ok(Math.abs(uncut / size - expected) < tolerance(expected, size), `${uncut / size}, expected ${expected}`);
  });
}

test("who is hardly ever on comes back after meanOn · (1 − share) ÷ share on average, and stays for meanOn", () => {
  const size = 4_000;
  const onShare = 0.0001;
  const availability = model({ type: "two-state", onShare, meanOn: minutes(20) }, size);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const back = clients(size).map((client) => availability.onFrom(client, hours(50)));
  const stays = back.map((start, row) => availability.onUntil(clientId(row), start) - start);
  const gap = (minutes(20) * (1 - onShare)) / onShare;
  assert.ok(Math.abs(mean(back) - hours(50) - gap) < (4 * gap) / Math.sqrt(size));
  assert.ok(Math.abs(mean(stays) - minutes(20)) < (4 * minutes(20)) / Math.sqrt(size));
});

test("a client is off at the end of its stretch, and on again from its return", () => {
  for (const onShare of [0.0001, 0.9999]) {
    const availability = model({ type: "two-state", onShare, meanOn: minutes(1) }, 50);
    for (const client of clients(50)) {
      const start = availability.onFrom(client, minutes(7));
      const end = availability.onUntil(client, start);
      const next = availability.onFrom(client, end);
      assert.ok(start < end && end < next && next < Infinity);
      const times = [start, (start + end) / 2, end, (end + next) / 2, next];
      assert.deepEqual(
        times.map((time) => availability.isOn(client, time)),
        [true, true, false, false, true],
      );
    }
  }
});

test("a rare state is as rare at every hour as its daily wave says", () => {
  const size = 200_000;
  const wave = { amplitude: 0.9, peakAt: hours(12) };
  const availability = model({ type: "two-state", onShare: 0.0002, meanOn: minutes(5), diurnal: wave }, size);
  for (const [hour, share] of [
    [36, 0.00038],
    [30, 0.0002],
    [24, 0.00002],
  ] as const) {
    const found = clients(size).filter((client) => availability.isOn(client, hours(hour))).length / size;
    assert.ok(Math.abs(found - share) < tolerance(share, size), `${found} at ${hour} h, expected ${share}`);
  }
});
