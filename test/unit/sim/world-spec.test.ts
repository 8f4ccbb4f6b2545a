/** What a world cannot be, by the fields of a scenario. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { problemsOf } from "../../../src/base/problem.ts";
import { days, hours, type Millis } from "../../../src/base/units.ts";
import { type AvailabilitySpec, availabilitySchema } from "../../../src/sim/availability/availability.ts";
import { checkWorld, defaultWorldSpec, type WorldSpec, worldSchema } from "../../../src/sim/world-spec.ts";
import { equalFleet } from "../../support/sim-world.ts";

test("what an availability cannot be is named with its field", () => {
  const found = (spec: AvailabilitySpec) => problemsOf(availabilitySchema, spec).map(({ path }) => path);
  assert.deepEqual(found({ type: "bernoulli", probability: 1.2, slot: 0 as Millis }), ["probability", "slot"]);
  assert.deepEqual(found({ type: "trace", period: 0 as Millis, devices: [], assignment: "cycle" }), [
    "period",
    "devices",
  ]);
  const trace: AvailabilitySpec = {
    type: "trace",
    period: 50 as Millis,
    devices: [
      [
        [30, 20],
        [10, 60],
      ],
    ],
    assignment: "cycle",
  };
  assert.deepEqual(problemsOf(availabilitySchema, trace), [
    { path: "devices[0][0]", text: "is [30,20], expected an end after its start" },
    { path: "devices[0][1]", text: "is [10,60], expected a start of at least 20, where the window before ends" },
    { path: "devices[0][1]", text: "is [10,60], expected an end within the period, 50" },
  ]);
  assert.deepEqual(found({ type: "data", rule: "YC", beta: 1, slot: hours(1) }), ["beta"]);
  assert.deepEqual(found({ type: "data", rule: "MDF", beta: 1, slot: hours(1) }), []);
  const wave = { amplitude: 0.9, peakAt: hours(2) };
  assert.deepEqual(found({ type: "two-state", onShare: 0.2, meanOn: days(2), diurnal: wave }), ["diurnal.amplitude"]);
  assert.deepEqual(found({ type: "diurnal", share: 0.9, slot: hours(1), ...wave }), ["amplitude"]);
  const churn = (spec: WorldSpec["churn"]) => problemsOf(worldSchema, { churn: spec }).map(({ path }) => path);
  assert.deepEqual(churn({ presentAtStart: 0, meanWait: hours(1) }), []);
  assert.deepEqual(churn({ presentAtStart: 0 }), ["churn.presentAtStart"]);
});

test("regions and labels that there are not are named, wherever a world speaks of them", () => {
  const timeZones = { byRegion: { atlantis: hours(1) } };
  const wave = { amplitude: 0.1, peakAt: hours(2), timeZones };
  const world = worldSchema.parse({
    availability: [
      { type: "charging", timeZones },
      { type: "diurnal", share: 0.5, slot: hours(1), ...wave },
      { type: "two-state", onShare: 0.2, meanOn: hours(2), diurnal: wave },
      { type: "data", rule: "YC", beta: 0.5, slot: hours(1) },
    ],
    battery: { charging: { timeZones } },
  });
  assert.deepEqual(
    checkWorld(world, equalFleet({ size: 2 })).map(({ path }) => path),
    [
      "availability[0].timeZones.byRegion",
      "availability[1].timeZones.byRegion",
      "availability[2].diurnal.timeZones.byRegion",
      "availability[3].rule",
      "battery.charging.timeZones.byRegion",
    ],
  );
  assert.deepEqual(checkWorld(defaultWorldSpec, equalFleet({ size: 2 })), []);
});
