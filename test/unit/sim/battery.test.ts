/** Batteries: levels by hand, eligibility, and energy that adds up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../../src/base/ids.ts";
import { problemsOf } from "../../../src/base/problem.ts";
import { Rng } from "../../../src/base/random.ts";
import { hours, type Millis, minutes } from "../../../src/base/units.ts";
import { Batteries, type BatterySpec, batterySchema } from "../../../src/sim/availability/battery.ts";
import { equalFleet, listen, Parts, play, stage } from "../../support/sim-world.ts";

/** On the charger from 22:00 to 4:00, every night, on time. */
const nights = {
  plugAt: { mean: hours(22), sd: 0 as Millis },
  length: { mean: hours(6), sd: 0 as Millis },
  dayCharges: { perDay: 0, meanLength: hours(1) },
  wifi: 1,
};
const spec: BatterySpec = { idlePerHour: 0.02, chargePerHour: 0.25, charging: nights };
const batteries = (size = 1) => new Batteries(spec, equalFleet({ size }), new Rng(3));
const c = clientId(0);
const close = (found: number, expected: number) =>
  assert.ok(Math.abs(found - expected) < 1e-9, `${found}, not ${expected}`);

test("a battery charges at night and idles away by day", () => {
  // Full by 4:00 whatever the evening left; then two hundredths an hour.
  close(batteries().level(c, hours(28)), 1);
  close(batteries().level(c, hours(28 + 10)), 0.8);
  close(batteries().level(c, hours(46)), 1 - 0.02 * 18);
  // An hour of charging, less idling.
  close(batteries().level(c, hours(47)), 1 - 0.02 * 18 + 0.23);
});

test("asking for a level changes nothing, however often and in whatever order", () => {
  const asked = batteries();
  const untouched = batteries();
  for (const time of [1, 7, 30, 31, 55]) asked.level(c, hours(time));
  asked.debit(c, "training", hours(56), hours(1));
  untouched.debit(c, "training", hours(56), hours(1));
  for (const time of [57, 61, 80, 99]) asked.level(c, hours(time));
  assert.equal(asked.level(c, hours(100)), untouched.level(c, hours(100)));
});

test("when a client will be eligible that comes in days leaves its battery where it is today", () => {
  const [asked, untouched] = [batteries(), batteries()];
  for (const battery of [asked, untouched]) battery.level(c, hours(30));
  asked.eligibleFrom(c, hours(100), hours(30));
  assert.deepEqual(asked.snapshot(), untouched.snapshot());
  assert.equal(asked.level(c, hours(31)), untouched.level(c, hours(31)));
  batteries().restore(asked.snapshot(), hours(31));
});

test("an hour of training takes 3 W of 15 Wh, an hour of radio 1 W", () => {
  for (const [leg, share] of [
    ["training", 3 / 15],
    ["upload", 1 / 15],
  ] as const) {
    const battery = batteries();
    battery.debit(c, leg, hours(33), hours(1));
    close(battery.level(c, hours(33)), 1 - 0.02 * 5 - share);
  }
});

test("an unplugged client needs the minimum level, a plugged one does not", () => {
  const battery = batteries();
  battery.debit(c, "training", hours(30), hours(3.5));
  close(battery.level(c, hours(30)), 0.96 - 0.7);
  assert.equal(battery.isEligible(c, hours(30)), false);
  assert.equal(battery.eligibleFrom(c, hours(30), hours(30)), hours(46));
  assert.equal(battery.isEligible(c, hours(46)), true);
});

test("work that empties the battery is cut off when it is empty", async () => {
  // From 4:00 on full: 0.02 idle and 0.2 of training an hour last 1 ÷ 0.22 hours.
  const own = stage({ fleet: equalFleet({ size: 1 }), spec: { battery: spec } });
  const parts = new Parts(own, [{ client: 0, round: 1, at: hours(28) }], { downloadBytes: 0, duration: hours(9) });
  listen(own, (ending) => parts.hear(ending));
  await own.kernel.run();
  const [result] = parts.results;
  assert.deepEqual([result!.loss?.phase, result!.loss?.reason], ["training", "battery"]);
  assert.ok(Math.abs(result!.endedAt - hours(28 + 1 / 0.22)) <= 1);
});

test("on the charger the same work comes to its end", async () => {
  const [result] = await play(
    { fleet: equalFleet({ size: 1 }), spec: { battery: spec } },
    [{ client: 0, round: 1, at: hours(47) }],
    { duration: hours(4) },
  );
  assert.equal(result!.loss, null);
});

test("energy adds up over the phases of a part", async () => {
  // A kilobyte per second: an hour down, one up, half an hour of training.
  const own = stage({ fleet: equalFleet({ size: 1, rate: 1_000 }), spec: { battery: spec } });
  const cost = { downloadBytes: 3_600_000, uploadBytes: 3_600_000, duration: minutes(30), stages: 3 };
  const parts = new Parts(own, [{ client: 0, round: 1, at: hours(30) }], cost);
  listen(own, (ending) => parts.hear(ending));
  await own.kernel.run();
  assert.equal(own.kernel.now, hours(32.5));
  assert.deepEqual(own.world.occupation, { download: hours(1), training: hours(0.5), upload: hours(1) });
  const level = own.world.batteryLevel(c)!;
  assert.ok(Math.abs(level - (1 - 0.02 * 4.5 - (1 + 1 + 0.5 * 3) / 15)) < 1e-9, `${level}`);
});

test("what a battery cannot be is named with its field", () => {
  const wrong = { minimumLevel: 1, capacityWattHours: 0, charging: { wifi: 2 } };
  assert.deepEqual(
    problemsOf(batterySchema, wrong, "battery").map(({ path }) => path),
    ["battery.capacityWattHours", "battery.minimumLevel", "battery.charging.wifi"],
  );
});
