/** What a fleet costs that is hardly ever invited: rows of numbers, and nothing that grows with it in a checkpoint. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { minutes } from "../../src/base/units.ts";
import { oort, tifl, uniform } from "../../src/fl/samplers/registry.ts";
import { prepareRun } from "../../src/run/run.ts";
import { encode } from "../../src/runtime/messages/codec.ts";
import { playTiming } from "../support/play.ts";
import { timingOnly } from "../support/scenarios.ts";

const fleetOf = (clients: number, more: object = {}) =>
  timingOnly({
    data: {
      sizes: { examplesPerClient: { type: "log-normal", mean: 40, cv: 0.5 }, tokensPerExample: 60 },
    },
    fleet: [
      {
        name: "phone",
        clients,
        budget: 1,
        tokensPerSecond: { type: "log-normal", median: 300, sigma: 0.9 },
        uplink: 1e6,
        dropout: 0.1,
      },
    ],
    rounds: { count: 3, cohort: 50, overSelection: 1.3, minUpdates: 10, deadline: minutes(5), ...more },
  });

test("a client in the fleet takes less than 64 bytes", async () => {
  const { fleet } = await prepareRun(fleetOf(200_000), {});
  const columns = Object.values(fleet).filter((column): column is Float64Array => ArrayBuffer.isView(column));
  const bytes = columns.reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.ok(bytes / 200_000 < 64, `${bytes / 200_000} bytes a client`);
});

test("a large fleet makes as many events and as small a checkpoint as its cohorts", async () => {
  const [small, large] = [await playTiming(fleetOf(1_000)), await playTiming(fleetOf(100_000))];
  const events = [small, large].map(({ federation }) => federation.kernel.processed);
  assert.ok(events[1]! < 1.2 * events[0]!, `${events}`);
  const sizes = [small, large].map(({ federation }) => encode(federation.snapshot()).length);
  assert.ok(sizes[1]! < 1.5 * sizes[0]!, `${sizes} bytes`);
});

for (const sampler of [uniform(), oort(), tifl()]) {
  test(`${sampler.name} finds its cohort among 100,000 clients`, async () => {
    const { rounds } = await playTiming(fleetOf(100_000, { sampler }));
    assert.ok(rounds.slice(1).every(({ invited }) => invited === 65));
  });
}

test("what a device is does not depend on how many there are", async () => {
  const [few, many] = [await prepareRun(fleetOf(500), {}), await prepareRun(fleetOf(5_000), {})];
  assert.deepEqual(many.fleet.tokensPerSecond.subarray(0, 500), few.fleet.tokensPerSecond);
  assert.deepEqual(many.fleet.examples.subarray(0, 500), few.fleet.examples);
});
