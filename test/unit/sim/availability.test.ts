/** Who is there when: models against their formulas, and what becomes of work when its client goes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientId, clientId } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { hours, type Millis, minutes, seconds } from "../../../src/base/units.ts";
import {
  type AvailabilitySpec,
  availabilityOf,
  type OnIneligible,
} from "../../../src/sim/availability/availability.ts";
import type { DataTraits } from "../../../src/sim/availability/availability-data.ts";
import { Churn } from "../../../src/sim/availability/churn.ts";
import { equalFleet, listen, moments, Parts, play, shareError, stage } from "../../support/sim-world.ts";

const rng = () => new Rng(11);
const model = (spec: AvailabilitySpec, size = 1_000, traits?: DataTraits) =>
  availabilityOf([spec], equalFleet({ size, regions: 2 }), rng(), traits)!;

/** Share of `size` clients that are on at `time`. */
function shareOn(spec: AvailabilitySpec, time: number, size = 1_000, traits?: DataTraits): number {
  const availability = model(spec, size, traits);
  let on = 0;
  for (let client = 0; client < size; client++) if (availability.isOn(clientId(client), time)) on++;
  return on / size;
}

test("Bernoulli clients are on with their probability, anew in each slot", () => {
  const spec: AvailabilitySpec = { type: "bernoulli", probability: 0.3, slot: minutes(10) };
  const size = 4_000;
  const availability = model(spec, size);
  const at = (time: number) => Array.from({ length: size }, (_, c) => availability.isOn(clientId(c), time));
  const [first, same, next] = [at(0), at(minutes(10) - 1), at(minutes(10))];
  assert.deepEqual(first, same);
  const share = (flags: boolean[]) => flags.filter(Boolean).length / size;
  assert.ok(Math.abs(share(first) - 0.3) < 4 * shareError(0.3, size));
  const both = share(first.map((on, c) => on && next[c]!));
  assert.ok(Math.abs(both - 0.09) < 4 * shareError(0.09, size), `${both}`);
});

test("the two-state process has its on-share, lag correlation and survival", () => {
  // Watched once a second it is the chain with p01 = .05 and p10 = .2: π = .2, lag-1 correlation .75 = exp(−λ · 1 s).
  const rate = -Math.log(0.75) / 1_000;
  const spec: AvailabilitySpec = { type: "two-state", onShare: 0.2, meanOn: (1 / (rate * 0.8)) as Millis };
  const size = 20_000;
  const availability = model(spec, size);
  const start = 1_000_000;
  const watched = Array.from({ length: size }, (_, c) =>
    Array.from({ length: 6 }, (_, s) => availability.isOn(clientId(c), start + s * 1_000)),
  );
  const on = watched.filter(([first]) => first).length;
  assert.ok(Math.abs(on / size - 0.2) < 4 * shareError(0.2, size), `on-share ${on / size}`);
  const both = watched.filter(([first, second]) => first && second).length;
  const correlation = (both / size - 0.04) / 0.16;
  assert.ok(Math.abs(correlation - 0.75) < 0.03, `correlation ${correlation}`);
  const survivors = watched.filter((states) => states.every(Boolean)).length / on;
  assert.ok(Math.abs(survivors - 0.8 ** 5) < 4 * shareError(0.328, on), `survival ${survivors}`);
});

test("stretches on last their mean, and a task of length d is not cut with probability exp(−d / meanOn)", async () => {
  const spec: AvailabilitySpec = { type: "two-state", onShare: 0.4, meanOn: minutes(20) };
  const availability = model(spec, 20_000);
  const there: number[] = [];
  for (let c = 0; c < 20_000; c++) if (availability.isOn(clientId(c), hours(3))) there.push(c);
  // Exponential: what is left of a stretch lasts as long as a whole one.
  const { mean, error } = moments(there.map((c) => availability.onUntil(clientId(c), hours(3)) - hours(3)));
  assert.ok(Math.abs(mean - minutes(20)) < 4 * error, `${mean}`);
  const parts = there.map((client) => ({ client, round: 1, at: hours(3) }));
  const cost = { downloadBytes: 0, duration: minutes(15), stages: 2 };
  const results = await play(
    { fleet: equalFleet({ size: 20_000, regions: 2 }), seed: 11, spec: { availability: [spec] } },
    parts,
    cost,
  );
  const uncut = results.filter(({ loss }) => loss === null).length / parts.length;
  const expected = Math.exp(-15 / 20);
  assert.ok(Math.abs(uncut - expected) < 4 * shareError(expected, parts.length), `${uncut}, expected ${expected}`);
  assert.ok(results.every(({ loss }) => loss === null || loss.reason === "unavailable"));
});

const quarters = Array.from({ length: 24 }, (_, hour) => hours(48 + hour));

for (const spec of [
  { type: "diurnal", share: 0.4, slot: minutes(15), amplitude: 0.6, peakAt: hours(2) },
  {
    type: "two-state",
    onShare: 0.4,
    meanOn: hours(2),
    diurnal: { amplitude: 0.6, peakAt: hours(2) },
  },
] as const) {
  test(`the daily profile of a ${spec.type} fleet swings 4 : 1 around its mean, with its peak in time`, () => {
    const size = 4_000;
    const profile = quarters.map((time) => shareOn(spec, time, size));
    const { mean } = moments(profile);
    assert.ok(Math.abs(mean - 0.4) < 0.01, `mean ${mean}`);
    // First harmonic: unbiased where the single largest and smallest hours are not.
    const wave = (trig: (x: number) => number) =>
      (2 / 24) * profile.reduce((sum, share, hour) => sum + share * trig((2 * Math.PI * hour) / 24), 0);
    const amplitude = Math.hypot(wave(Math.cos), wave(Math.sin)) / mean;
    const peak = (Math.atan2(wave(Math.sin), wave(Math.cos)) * 24) / (2 * Math.PI);
    assert.ok(Math.abs((1 + amplitude) / (1 - amplitude) - 4) < 0.3, `ratio ${(1 + amplitude) / (1 - amplitude)}`);
    assert.ok(Math.abs(peak - 2) < 0.3, `peak at ${peak} h`);
  });
}

test("time zones move each region's peak, and a mixture of them flattens the total", () => {
  const diurnal = { type: "diurnal", share: 0.5, slot: minutes(15), amplitude: 0.6, peakAt: hours(0) } as const;
  const size = 2_000;
  const zoned: AvailabilitySpec = { ...diurnal, timeZones: { byRegion: { "region-1": hours(12) } } };
  const availability = model(zoned, size);
  const share = (region: number, time: number) => {
    let on = 0;
    for (let c = region; c < size; c += 2) if (availability.isOn(clientId(c), time)) on++;
    return on / (size / 2);
  };
  assert.ok(share(0, hours(48)) > 0.7 && share(1, hours(48)) < 0.3);
  assert.ok(share(0, hours(60)) < 0.3 && share(1, hours(60)) > 0.7);
  const spread: AvailabilitySpec = { ...diurnal, timeZones: { spread: hours(24) } };
  for (const hour of [48, 54, 60]) assert.ok(Math.abs(shareOn(spread, hours(hour), size) - 0.5) < 0.05);
});

test("nights on the charger: most are on at three in the morning, few at three in the afternoon", () => {
  const spec: AvailabilitySpec = { type: "charging" };
  // WiFi 0.8, plugged in before three Φ(4.5 ÷ 1.5), and still after it Φ(2.5 ÷ √4.5): 0.8 · 0.9987 · 0.8807.
  const expected = 0.8 * 0.9987 * 0.8807;
  const found = shareOn(spec, hours(3 + 72), 4_000);
  assert.ok(Math.abs(found - expected) < 4 * shareError(expected, 4_000), `${found}, expected ${expected}`);
  assert.ok(shareOn(spec, hours(15 + 72)) < 0.1);
  const behind: AvailabilitySpec = {
    type: "charging",
    timeZones: { byRegion: { "region-0": -hours(12) as Millis, "region-1": -hours(12) as Millis } },
  };
  assert.ok(shareOn(behind, hours(15)) > 0.6 && shareOn(behind, hours(3)) < 0.1);
});

const traits = (size: number): DataTraits => ({
  labels: 10,
  minLabel: Array.from({ length: size }, (_, c) => c % 10),
  maxLabel: Array.from({ length: size }, (_, c) => c % 10),
  labelCount: Array.from({ length: size }, (_, c) => 1 + (c % 10)),
});

test("availability goes with the labels and the amount of data as FLGo's formulas say", () => {
  const size = 10_000;
  const share = (spec: AvailabilitySpec, pick: (c: number) => boolean, time = 0) => {
    const fleet = equalFleet({ size });
    for (let c = 0; c < size; c++) fleet.examples[c] = c % 2 === 0 ? 100 : 400;
    const availability = availabilityOf([spec], fleet, rng(), traits(size))!;
    const picked = Array.from({ length: size }, (_, c) => c).filter(pick);
    return picked.filter((c) => availability.isOn(clientId(c), time)).length / picked.length;
  };
  const data = { type: "data", slot: hours(1) } as const;
  const close = (found: number, expected: number) =>
    assert.ok(Math.abs(found - expected) < 0.05, `${found}, not ${expected}`);
  close(
    share({ ...data, rule: "YMF", beta: 0.8 }, (c) => c % 10 === 0),
    0.2,
  );
  close(
    share({ ...data, rule: "YMF", beta: 0.8 }, (c) => c % 10 === 9),
    1,
  );
  close(
    share({ ...data, rule: "YFF", beta: 0.8 }, (c) => c % 10 === 4),
    0.8 * 0.5 + 0.2,
  );
  close(
    share({ ...data, rule: "MDF", beta: 0.5 }, (c) => c % 2 === 0),
    0.5,
  );
  close(
    share({ ...data, rule: "LDF", beta: 0.5 }, (c) => c % 2 === 1),
    0.5,
  );
  close(
    share({ ...data, rule: "HOMO", beta: 0.2 }, () => true),
    0.8,
  );
  // Phase (1 + 11) / 24 = 0.5 lies within labels 4 and 5 of ten.
  close(
    share({ ...data, rule: "YC", beta: 0.9 }, (c) => c % 10 === 5, hours(11)),
    1,
  );
  close(
    share({ ...data, rule: "YC", beta: 0.9 }, (c) => c % 10 === 8, hours(11)),
    0.1,
  );
});

const windows: AvailabilitySpec = {
  type: "trace",
  period: seconds(40),
  devices: [
    [
      [0, seconds(10)],
      [seconds(20), seconds(30)],
    ],
  ],
  assignment: "cycle",
};

/** Seconds at which work of `length` seconds from `start` ends, and whether it was lost. */
async function work(
  start: number,
  length: number,
  onIneligible: OnIneligible,
): Promise<[end: number, isLost: boolean]> {
  const { kernel, world } = stage({ fleet: equalFleet({ size: 1 }), spec: { availability: [windows], onIneligible } });
  const endings = listen({ kernel, world, fleet: equalFleet({ size: 1 }), rows: [] });
  kernel.on("start", () => {
    world.compute({
      ticket: 0,
      client: clientId(0),
      participation: 0 as never,
      round: 1 as never,
      duration: seconds(length),
    });
  });
  kernel.schedule(seconds(start), "start", null);
  await kernel.run();
  assert.equal(endings.length, 1);
  return [endings[0]!.at / 1_000, endings[0]!.how === "lost"];
}

test("the same windows end the same work in three different ways", async () => {
  assert.deepEqual(await work(5, 8, "pause"), [23, false]);
  assert.deepEqual(await work(5, 8, "abort"), [10, true]);
  assert.deepEqual(await work(5, 8, "abort-at-end-check"), [13, true]);
  assert.deepEqual(await work(28, 5, "pause"), [43, false]);
  // Absent from 10 to 20, and back in time for the check.
  assert.deepEqual(await work(5, 16, "abort-at-end-check"), [21, false]);
  assert.deepEqual(await work(5, 16, "abort"), [10, true]);
  assert.deepEqual(await work(5, 16, "pause"), [41, false]);
});

test("work that ends exactly when its window does is done", async () => {
  assert.deepEqual(await work(2, 8, "abort"), [10, false]);
  assert.deepEqual(await work(2, 8, "abort-at-end-check"), [10, false]);
  assert.deepEqual(await work(2, 8, "pause"), [10, false]);
});

test("a trace is folded with its period, far into the future and in any order", () => {
  const availability = model(windows, 1);
  const c = clientId(0);
  const period = seconds(40);
  for (const k of [1_000_003, 0, 17]) {
    const base = k * period;
    assert.equal(availability.isOn(c, base + 9_999), true);
    assert.equal(availability.isOn(c, base + 10_000), false);
    assert.equal(availability.onFrom(c, base + 10_000), base + 20_000);
    assert.equal(availability.onUntil(c, base + 25_000), base + 30_000);
    assert.equal(availability.onFrom(c, base + 30_000), base + period);
  }
});

test("windows that touch across the end of the period are one", () => {
  const spec: AvailabilitySpec = {
    type: "trace",
    period: 100 as Millis,
    devices: [
      [
        [0, 10],
        [90, 100],
      ],
      [[0, 100]],
      [],
    ],
    assignment: "cycle",
  };
  const availability = model(spec, 3);
  assert.equal(availability.onUntil(clientId(0), 95), 110);
  assert.equal(availability.onUntil(clientId(1), 95), Infinity);
  assert.equal(availability.onFrom(clientId(2), 95), Infinity);
});

test("models combine: a client is there when all of them say so", () => {
  const other: AvailabilitySpec = { ...windows, devices: [[[seconds(5), seconds(25)]]] } as AvailabilitySpec;
  const both = availabilityOf([windows, other, { type: "always" }], equalFleet({ size: 1 }), rng())!;
  const c = clientId(0);
  assert.equal(both.onFrom(c, 0), seconds(5));
  assert.equal(both.onUntil(c, seconds(5)), seconds(10));
  assert.equal(both.onFrom(c, seconds(10)), seconds(20));
  assert.equal(both.onUntil(c, seconds(20)), seconds(25));
  assert.equal(both.onFrom(c, seconds(25)), seconds(45));
});

test("nobody is ever there: nothing can be awaited, and an invitation is lost before download", async () => {
  const spec = { availability: [{ type: "bernoulli", probability: 0, slot: minutes(1) } as const] };
  const own = stage({ fleet: equalFleet({ size: 5 }), spec });
  assert.equal(own.world.nextAvailability(), null);
  const parts = new Parts(own, [{ client: 0, round: 1, at: 0 }]);
  listen(own, (ending) => parts.hear(ending));
  await own.kernel.run();
  assert.deepEqual([parts.results[0]!.loss?.phase, parts.results[0]!.loss?.reason], ["before-download", "unavailable"]);
  assert.equal(own.world.traffic.downloadSent, 0);
});

test("the next availability is the first instant at which a client comes on", () => {
  const own = stage({
    fleet: equalFleet({ size: 1 }),
    spec: { availability: [{ ...windows, devices: [[[7_000, 9_000]]] } as AvailabilitySpec] },
  });
  assert.equal(own.world.isAvailable(clientId(0)), false);
  assert.equal(own.world.nextAvailability(), 7_000);
  // Who is there already comes back after being away.
  const there = stage({ fleet: equalFleet({ size: 1 }), spec: { availability: [windows] } });
  assert.equal(there.world.isAvailable(clientId(0)), true);
  assert.equal(there.world.nextAvailability(), 20_000);
  assert.equal(stage({ fleet: equalFleet({ size: 1 }) }).world.nextAvailability(), null);
});

test("a client that never goes away does not come back, and others are awaited beside it", () => {
  const devices = [[[0, minutes(1)]], [[7_000, 9_000]], []];
  const trace = { type: "trace", period: minutes(1), devices, assignment: "cycle" } as unknown as AvailabilitySpec;
  const next = (size: number) =>
    stage({ fleet: equalFleet({ size }), spec: { availability: [trace] } }).world.nextAvailability();
  assert.equal(next(1), null);
  assert.equal(next(3), 7_000);
});

test("churn: a share is there from the start, others join, and everyone leaves for good after an exponential stay", () => {
  const churn = new Churn({ presentAtStart: 0.6, meanWait: hours(10), meanStay: hours(5) }, rng());
  const ids: ClientId[] = Array.from({ length: 10_000 }, (_, c) => clientId(c));
  const early = ids.filter((c) => churn.joinsAt(c) === 0).length / 10_000;
  assert.ok(Math.abs(early - 0.6) < 4 * shareError(0.6, 10_000));
  const waits = moments(ids.map((c) => churn.joinsAt(c)).filter((time) => time > 0));
  assert.ok(Math.abs(waits.mean - hours(10)) < 4 * waits.error);
  const stays = moments(ids.map((c) => churn.leavesAt(c) - churn.joinsAt(c)));
  assert.ok(Math.abs(stays.mean - hours(5)) < 4 * stays.error);
  const gone = ids.filter((c) => churn.joinsAt(c) === 0 && !churn.isMember(c, hours(5))).length / (early * 10_000);
  assert.ok(Math.abs(gone - (1 - Math.exp(-1))) < 0.03, `${gone}`);
});

test("work of a client that leaves is lost at that instant, and it is never invited again", async () => {
  const spec = { churn: { meanStay: minutes(10) } };
  const own = stage({ fleet: equalFleet({ size: 200 }), spec });
  const all = Array.from({ length: 200 }, (_, client) => ({ client, round: 1, at: 0 }));
  const parts = new Parts(own, all, { duration: minutes(10), downloadBytes: 0, stages: 2 });
  listen(own, (ending) => parts.hear(ending));
  await own.kernel.run();
  const left = parts.results.filter((result) => result!.loss !== null);
  assert.ok(left.every((result) => result!.loss!.reason === "left"));
  assert.ok(Math.abs(left.length / 200 - (1 - Math.exp(-1))) < 4 * shareError(0.63, 200), `${left.length}`);
  assert.ok(left.every((result) => !own.world.isAvailable(clientId(result!.part.client))));
});
