/** Random worlds with everything switched on at once keep the rules of the environment, and can be taken up anywhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { clientId } from "../../src/base/ids.ts";
import { problemsOf } from "../../src/base/problem.ts";
import type { BytesPerSecond, Millis } from "../../src/base/units.ts";
import type { Effect } from "../../src/sim/script/effects.ts";
import { at, between, every } from "../../src/sim/script/timeline.ts";
import { checkWorld, defaultWorldSpec, type WorldSpec, worldSchema } from "../../src/sim/world-spec.ts";
import { type Ending, equalFleet, listen, type Part, Parts, type Stage, stage } from "../support/sim-world.ts";

const hour = 3_600_000;
const time = (max: number) => fc.integer({ min: 1, max }) as fc.Arbitrary<Millis>;
const probability = (max: number) => fc.oneof(fc.constant(0), fc.double({ min: 0, max, noNaN: true }));
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

const target = fc.constantFrom("all", "phone", "server", "region-0", "region-1", { clients: [0, 3] });
const effect: fc.Arbitrary<Effect> = fc.oneof(
  fc.record({ type: fc.constantFrom("outage" as const, "partition" as const), target, duration: time(hour) }),
  fc.record({
    type: fc.constantFrom("slowdown" as const, "bandwidth" as const),
    target,
    factor: fc.double({ min: 0.1, max: 5, noNaN: true }),
    duration: time(hour),
  }),
  fc.record({ type: fc.constant("server-restart" as const), duration: time(hour / 6) }),
  fc.record({ type: fc.constant("dropout" as const), target, probability: probability(1), duration: time(hour) }),
  fc.record({ type: fc.constant("message-loss" as const), probability: probability(0.9), duration: time(hour) }),
  fc.record({ type: fc.constant("crash" as const), target }),
);
const entry = fc.oneof(
  fc.tuple(time(2 * hour), effect).map(([when, what]) => at(when, what)),
  fc.tuple(time(hour), time(hour), effect).map(([from, length, what]) => {
    // The entry says how long; an effect that says so, too, is a mistake.
    const { duration: _, ...timeless } = what as { duration?: Millis } & Effect;
    return between(from, (from + length) as Millis, timeless as Effect);
  }),
  // A server that restarts every minute for ever would let no long message through.
  fc
    .tuple(fc.integer({ min: 60_000, max: hour }), effect)
    .map(([period, what]) => every(period as Millis, what, { until: (3 * hour) as Millis })),
);

const availability = fc.oneof(
  fc.record({
    type: fc.constant("two-state" as const),
    onShare: fc.constantFrom(0.3, 0.9),
    meanOn: fc.integer({ min: 600_000, max: 4 * hour }) as fc.Arbitrary<Millis>,
  }),
  fc.record({
    type: fc.constant("bernoulli" as const),
    probability: fc.constantFrom(0.5, 0.95),
    slot: fc.integer({ min: 60_000, max: hour }) as fc.Arbitrary<Millis>,
  }),
);

const spec = fc
  .record({
    network: fc
      .record({
        taskVariation: maybe(fc.constant({ down: 0.4, up: 0.4 })),
        sharedUplink: maybe(fc.constant(20_000 as BytesPerSecond)),
        sharedDownlink: maybe(fc.constant(50_000 as BytesPerSecond)),
        loss: probability(0.5),
        duplication: probability(0.5),
        corruption: probability(0.5),
        reordering: maybe(fc.record({ probability: probability(1), maxDelay: time(60_000) })),
        retry: maybe(fc.record({ timeout: time(60_000), attempts: fc.integer({ min: 1, max: 4 }) })),
      })
      .map(dropUndefined),
    compute: fc.constantFrom({}, { noise: { type: "log-normal", mean: 1, cv: 0.3 } as const }),
    availability: fc.array(availability, { maxLength: 2 }),
    onIneligible: fc.constantFrom("abort" as const, "abort-at-end-check" as const, "pause" as const),
    faults: fc
      .record({
        beforeDownload: probability(0.2),
        download: probability(0.2),
        training: probability(0.3),
        upload: probability(0.2),
        acknowledge: probability(0.2),
        crash: probability(0.2),
        corruptedUpdate: probability(0.2),
        hazardPerHour: probability(2),
        roundRate: maybe(fc.constant({ type: "beta" as const, mean: 0.1, correlation: 0.2 })),
        shocks: maybe(fc.constant({ probability: 0.2, severity: 0.8 })),
        swizzle: maybe(fc.record({ window: time(hour), share: probability(1), probability: probability(1) })),
      })
      .map(dropUndefined),
    timeline: fc.array(entry, { maxLength: 4 }),
    churn: maybe(fc.constant({ presentAtStart: 0.8, meanWait: hour as Millis, meanStay: (3 * hour) as Millis })),
    battery: maybe(fc.constant({ idlePerHour: 0.05 })),
  })
  .map((fields) => dropUndefined({ ...defaultWorldSpec, ...fields }) as WorldSpec);

function dropUndefined<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

const parts = fc.array(fc.record({ client: fc.nat(7), round: fc.integer({ min: 1, max: 3 }), at: fc.nat(2 * hour) }), {
  minLength: 1,
  maxLength: 12,
});
const world = fc.record({ spec, parts, seed: fc.nat(1e6) });

const fleet = equalFleet({ size: 8, regions: 2, tiers: ["phone", "server"], rate: 10_000, latency: 40 });
const cost = { downloadBytes: 2_000_000, uploadBytes: 1_000_000, duration: 600_000 };

interface Played {
  readonly stage: Stage;
  readonly parts: Parts;
  readonly endings: Ending[];
}

/** No world of twelve parts has more to do than this; one that never ends would hang the test. */
const mostEvents = 100_000;

const runToEnd = async ({ stage: { kernel } }: Played): Promise<void> => {
  await kernel.run({ until: () => kernel.processed > mostEvents });
  assert.equal(kernel.pending, 0, "the world goes on for ever");
};

function prepare(own: WorldSpec, all: readonly Part[], seed: number): Played {
  const scene = stage({ fleet, spec: own, seed });
  const driver = new Parts(scene, all, cost);
  return { stage: scene, parts: driver, endings: listen(scene, (ending) => driver.hear(ending)) };
}

test("every ticket ends exactly once, no byte is lost from the books, and time never goes back", async () => {
  await fc.assert(
    fc.asyncProperty(world, async ({ spec: own, parts: all, seed }) => {
      assert.deepEqual([...problemsOf(worldSchema, own), ...checkWorld(own, fleet)], []);
      const played = prepare(own, all, seed);
      const { stage: scene, parts: driver, endings } = played;
      let before = 0;
      scene.kernel.observe(({ time: now }) => {
        assert.ok(now >= before);
        before = now;
        const { downloadSent, downloadReceived, downloadLost, uploadSent, uploadReceived, uploadLost } =
          scene.world.traffic;
        assert.ok(downloadSent >= downloadReceived + downloadLost && uploadSent >= uploadReceived + uploadLost);
      });
      await runToEnd(played);
      assert.equal(scene.world.underway, 0);
      const seen = new Map<number, Ending[]>();
      for (const ending of endings) seen.set(ending.ticket, [...(seen.get(ending.ticket) ?? []), ending]);
      for (const [ticket, told] of seen) {
        const lost = told.filter(({ how }) => how === "lost").length;
        assert.ok(lost === 0 || told.length === 1, `ticket ${ticket} was lost and arrived`);
        const isComputation = ticket % 64 === 1;
        assert.ok(
          told.length <= (isComputation || own.network.duplication === 0 ? 1 : 2),
          `ticket ${ticket} ended too often`,
        );
      }
      assert.equal(driver.results.filter((result) => result !== undefined).length, all.length);
      const { downloadSent, downloadReceived, downloadLost, uploadSent, uploadReceived, uploadLost } =
        scene.world.traffic;
      assert.equal(downloadSent, downloadReceived + downloadLost);
      assert.equal(uploadSent, uploadReceived + uploadLost);
    }),
    { numRuns: 120, seed: 30 },
  );
});

test("a world taken up from any event goes on as if it had never stopped", async () => {
  await fc.assert(
    fc.asyncProperty(world, fc.nat(60), async ({ spec: own, parts: all, seed }, stopAt) => {
      const whole = prepare(own, all, seed);
      await runToEnd(whole);
      const first = prepare(own, all, seed);
      await first.stage.kernel.run({ until: () => first.stage.kernel.processed >= stopAt });
      const state = structuredClone({ kernel: first.stage.kernel.snapshot(), world: first.stage.world.snapshot() });
      const second = prepare(own, all, seed);
      second.stage.kernel.restore(state.kernel);
      second.stage.world.restore(state.world);
      second.parts.takeUp(first.parts);
      await runToEnd(second);
      assert.deepEqual([...first.endings, ...second.endings], whole.endings);
      assert.deepEqual([...first.stage.rows, ...second.stage.rows], whole.stage.rows);
      assert.deepEqual(second.stage.world.traffic, whole.stage.world.traffic);
      assert.deepEqual(second.stage.world.occupation, whole.stage.world.occupation);
      assert.equal(second.stage.kernel.now, whole.stage.kernel.now);
      for (let client = 0; client < fleet.size; client++) {
        const id = clientId(client);
        assert.equal(second.stage.world.batteryLevel(id), whole.stage.world.batteryLevel(id));
        assert.equal(second.stage.world.isAvailable(id), whole.stage.world.isAvailable(id));
      }
    }),
    { numRuns: 100, seed: 31 },
  );
});
