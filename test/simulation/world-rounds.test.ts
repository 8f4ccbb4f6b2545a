/** Whole rounds on the world alone: rules of other simulators, laws of queues, and the presets at work. */
import assert from "node:assert/strict";
import { test } from "node:test";
import harsh from "../../scenarios/presets/harsh.ts";
import ideal from "../../scenarios/presets/ideal.ts";
import mild from "../../scenarios/presets/mild.ts";
import phones from "../../scenarios/presets/phones.ts";
import silo from "../../scenarios/presets/silo.ts";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { hours, type Millis, minutes, seconds } from "../../src/base/units.ts";
import type { AvailabilitySpec } from "../../src/sim/availability/availability.ts";
import type { DataTraits } from "../../src/sim/availability/availability-data.ts";
import { buildFleet } from "../../src/sim/fleet/devices.ts";
import type { Law } from "../../src/sim/fleet/laws.ts";
import { Kernel } from "../../src/sim/kernel/kernel.ts";
import { createWorld } from "../../src/sim/world.ts";
import { equalFleet, listen, moments, Parts, shareError, stage } from "../support/sim-world.ts";

test("FedScale's rule: of six, one gone at its end, the fastest three take part and the round lasts as the third", async () => {
  const durations = [4, 9, 2, 7, 5, 3];
  const always: [number, number][] = [[0, 100_000]];
  const availability: AvailabilitySpec = {
    type: "trace",
    period: seconds(100),
    devices: [always, always, [[0, 1_000]], always, always, always],
    assignment: "cycle",
  };
  const own = stage({
    fleet: equalFleet({ size: 6 }),
    spec: { availability: [availability], onIneligible: "abort-at-end-check" },
  });
  const endings = listen(own);
  for (const [client, duration] of durations.entries()) {
    const common = {
      ticket: client,
      client: clientId(client),
      participation: participationId(client),
      round: round(1),
    };
    own.world.compute({ ...common, duration: seconds(duration) });
  }
  await own.kernel.run();
  const done = endings.filter(({ how }) => how === "computed").map(({ at }) => at / 1_000);
  assert.deepEqual(done.slice(0, 3), [3, 4, 5]);
  assert.deepEqual(done.slice(3), [7, 9]);
  assert.deepEqual(
    endings.filter(({ how }) => how === "lost").map(({ ticket, at }) => [ticket, at]),
    [[2, 2_000]],
  );
});

interface Steady {
  /** Versions between a task's start and its end. */
  readonly staleness: number[];
  readonly durations: number[];
  readonly elapsed: number;
}

/** Keeps `concurrency` tasks in flight; the model gets a new version for every `buffer` that end. */
async function steadily(duration: Law, concurrency: number, buffer: number, tasks: number): Promise<Steady> {
  const own = stage({ fleet: equalFleet({ size: concurrency }), spec: { compute: { duration } } });
  const versions: number[] = [];
  const starts: number[] = [];
  const staleness: number[] = [];
  const durations: number[] = [];
  let ended = 0;
  const begin = (client: number) => {
    const ticket = versions.push(Math.floor(ended / buffer)) - 1;
    starts.push(own.kernel.now);
    const common = { ticket, client: clientId(client), participation: participationId(ticket), round: round(ticket) };
    own.world.compute({ ...common, duration: seconds(1) });
  };
  const owner = new Map<number, number>();
  listen(own, ({ ticket, at }) => {
    staleness.push(Math.floor(ended / buffer) - versions[ticket]!);
    durations.push(at - starts[ticket]!);
    ended++;
    if (versions.length < tasks) {
      const client = owner.get(ticket)!;
      owner.set(versions.length, client);
      begin(client);
    }
  });
  for (let client = 0; client < concurrency; client++) {
    owner.set(client, client);
    begin(client);
  }
  await own.kernel.run({ until: () => ended >= tasks - concurrency });
  return { staleness, durations, elapsed: own.kernel.now };
}

for (const [name, law] of [
  ["constant", 100],
  ["exponential", { type: "exponential", mean: 100 }],
  ["half-normal", { type: "half-normal", sd: 100, minimum: 20 }],
] as const satisfies readonly (readonly [string, Law])[]) {
  test(`with C tasks always in flight and a version per M, mean staleness is (C − 1) ÷ M: ${name} times`, async () => {
    for (const [concurrency, buffer] of [
      [20, 1],
      [30, 10],
      [7, 3],
    ] as const) {
      const { staleness } = await steadily(law, concurrency, buffer, 12_000);
      const { mean } = moments(staleness.slice(1_000));
      const expected = (concurrency - 1) / buffer;
      // Exact in the long run; the tail of 11,000 tasks leaves a thousandth or two.
      assert.ok(Math.abs(mean - expected) < 0.02 * expected, `C ${concurrency}, M ${buffer}: ${mean}, not ${expected}`);
    }
  });
}

test("Little's law: tasks in flight are the rate at which they end times how long they take", async () => {
  const { durations, elapsed } = await steadily({ type: "half-normal", sd: 100, minimum: 20 }, 25, 1, 8_000);
  const inFlight = (durations.length / elapsed) * moments(durations).mean;
  assert.ok(Math.abs(inFlight - 25) < 0.25, `${inFlight}`);
});

const size = 2_000;
const traits: DataTraits = {
  labels: 10,
  minLabel: new Uint8Array(size).map((_, c) => c % 10),
  maxLabel: new Uint8Array(size).map((_, c) => c % 10),
  labelCount: new Uint8Array(size).fill(1),
};

const presets = { ideal, mild, phones, harsh, silo };

for (const name of Object.keys(presets) as (keyof typeof presets)[]) {
  test(`two days of the preset "${name}": whoever is there is invited, and everything ends`, async () => {
    const { data } = presets[name];
    const tiers = data.fleet.map((tier) => ({ ...tier, clients: size }));
    const fleet = buildFleet({ tiers }, { examplesPerClient: 100, tokensPerExample: 64 }, new Rng(4));
    const median = fleet.tokensPerSecond.toSorted()[size / 2]!;
    assert.ok(Math.abs(Math.log(median / 100)) < 0.1, `median ${median}`);
    const kernel = new Kernel();
    const world = createWorld({ kernel, rng: new Rng(4), fleet, spec: data.world, traits });
    const parts: { client: number; round: number; at: number }[] = [];
    const share: number[] = [];
    for (let hour = 0; hour < 48; hour++) {
      kernel.schedule(hours(hour), "look", hour);
      for (let i = 0; i < 30; i++)
        parts.push({ client: (hour * 377 + i * 59) % size, round: hour + 1, at: hours(hour) + 1 });
    }
    kernel.on("look", () => {
      let there = 0;
      for (let client = 0; client < size; client++) if (world.isAvailable(clientId(client))) there++;
      share.push(there / size);
    });
    const own = { kernel, world, fleet, rows: [] };
    const driver = new Parts(own, parts, { duration: minutes(1) });
    listen(own, (ending) => driver.hear(ending));
    await kernel.run();
    assert.equal(world.underway, 0);
    assert.equal(driver.results.filter(Boolean).length, parts.length);
    const { mean } = moments(share);
    const expected = { ideal: 1, mild: 0.9, phones: 0.25, harsh: NaN, silo: 1 }[name];
    if (!Number.isNaN(expected)) assert.ok(Math.abs(mean - expected) < 0.01, `share there ${mean}`);
    else assert.ok(mean > 0.5 && mean < 0.7);
    const lost = driver.results.filter((result) => result!.loss !== null).length / parts.length;
    if (name === "ideal") assert.equal(lost, 0);
    if (name === "silo") assert.ok(Math.abs(lost - 0.01) < 0.05);
    if (name === "phones") assert.ok(lost > 0.6);
  });
}

test("the hazard of the phones preset loses 8 % of tasks as long as the median", async () => {
  const { world } = phones.data;
  const fleet = equalFleet({ size: 4_000, rate: 1e15 });
  const own = stage({ fleet, spec: { faults: world.faults } });
  const all = Array.from({ length: 4_000 }, (_, client) => ({ client, round: 1, at: 0 }));
  const driver = new Parts(own, all, { duration: minutes(2) as Millis, stages: 3 });
  listen(own, (ending) => driver.hear(ending));
  await own.kernel.run();
  const lost = driver.results.filter((result) => result!.loss !== null).length / 4_000;
  assert.ok(Math.abs(lost - 0.08) < 4 * shareError(0.08, 4_000), `${lost}`);
});
