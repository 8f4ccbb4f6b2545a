/** Laws that every availability model keeps, whatever its numbers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { clientId } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import type { Millis } from "../../src/base/units.ts";
import { type AvailabilitySpec, availabilityOf } from "../../src/sim/availability/availability.ts";
import { equalFleet } from "../support/sim-world.ts";

const hour = 3_600_000;
const millis = (min: number, max: number) => fc.integer({ min, max }) as fc.Arbitrary<Millis>;

const trace = fc
  .tuple(fc.uniqueArray(fc.integer({ min: 0, max: 1_000 }), { minLength: 2, maxLength: 12 }), fc.boolean())
  .map(([edges, isRandom]): AvailabilitySpec => {
    const sorted = edges.toSorted((a, b) => a - b);
    const windows = sorted.flatMap((start, i) =>
      i % 2 === 0 && i + 1 < sorted.length ? [[start, sorted[i + 1]!] as const] : [],
    );
    return { type: "trace", period: 1_000 as Millis, devices: [windows], assignment: isRandom ? "random" : "cycle" };
  });

const diurnal = fc.record({ amplitude: fc.double({ min: 0, max: 0.6, noNaN: true }), peakAt: millis(0, 24 * hour) });

const anyModel: fc.Arbitrary<AvailabilitySpec> = fc.oneof(
  fc.record({
    type: fc.constant("bernoulli" as const),
    probability: fc.double({ min: 0.05, max: 0.95, noNaN: true }),
    slot: millis(1_000, hour),
  }),
  fc.record({
    type: fc.constant("two-state" as const),
    onShare: fc.double({ min: 0.1, max: 0.5, noNaN: true }),
    meanOn: millis(60_000, 4 * hour),
  }),
  fc.record({
    type: fc.constant("two-state" as const),
    onShare: fc.double({ min: 0.1, max: 0.5, noNaN: true }),
    meanOn: millis(60_000, 2 * hour),
    diurnal,
  }),
  diurnal.chain((wave) =>
    fc
      .record({ type: fc.constant("diurnal" as const), share: fc.constant(0.5), slot: millis(60_000, hour) })
      .map((spec) => ({
        ...spec,
        ...wave,
      })),
  ),
  fc.constant({ type: "charging" as const }),
  fc.constant({ type: "charging" as const, timeZones: { spread: (24 * hour) as Millis } }),
  trace,
);

const times = fc.array(fc.integer({ min: 0, max: 5 * 24 * hour }), { minLength: 1, maxLength: 12 });
const world = fc.record({ models: fc.array(anyModel, { minLength: 1, maxLength: 2 }), seed: fc.nat(1e6), times });

const build = (models: readonly AvailabilitySpec[], seed: number) =>
  availabilityOf(models, equalFleet({ size: 3 }), new Rng(seed))!;

test("a client is off when its stretch ends, and on when it returns", () => {
  fc.assert(
    fc.property(world, ({ models, seed, times }) => {
      const availability = build(models, seed);
      for (const time of times) {
        for (const client of [0, 1, 2].map(clientId)) {
          const until = availability.onUntil(client, time);
          const from = availability.onFrom(client, time);
          assert.ok(until >= time && from >= time);
          assert.equal(availability.isOn(client, time), until > time);
          assert.equal(availability.isOn(client, time), from === time);
          if (until < Infinity) assert.equal(availability.isOn(client, until), false);
          if (from < Infinity) assert.equal(availability.isOn(client, from), true);
          // Nothing changes inside a stretch.
          const end = Math.min(until > time ? until : from, time + 10 * 24 * hour);
          for (const share of [0.25, 0.5, 0.9]) {
            const inside = time + Math.floor((end - time) * share);
            if (inside < end) assert.equal(availability.isOn(client, inside), until > time);
          }
        }
      }
    }),
    { numRuns: 60, seed: 20 },
  );
});

/** Stretches of hundreds of slots, which are remembered. */
const steady: fc.Arbitrary<AvailabilitySpec> = fc.oneof(
  fc.record({
    type: fc.constant("bernoulli" as const),
    probability: fc.constantFrom(0.003, 0.02, 0.98, 0.997),
    slot: millis(1_000, 60_000),
  }),
  fc.record({
    type: fc.constant("two-state" as const),
    onShare: fc.constantFrom(0.0001, 0.01, 0.99, 0.99999),
    meanOn: millis(60_000, hour),
  }),
  anyModel,
);

test("of several instants only the first matters: a search that is cut short finds nothing else before its end", () => {
  const asking = fc.record({
    models: fc.array(steady, { minLength: 1, maxLength: 3 }),
    seed: fc.nat(1e6),
    questions: fc.array(fc.tuple(fc.nat(48 * hour), fc.nat(24 * hour), fc.nat(1), fc.boolean()), {
      minLength: 1,
      maxLength: 12,
    }),
  });
  fc.assert(
    fc.property(asking, ({ models, seed, questions }) => {
      const asked = build(models, seed);
      for (const [time, ahead, row, isUntil] of questions) {
        const [client, atMost] = [clientId(row), time + ahead];
        const fresh = build(models, seed);
        const exact = isUntil ? fresh.onUntil(client, time) : fresh.onFrom(client, time);
        const cut = isUntil ? asked.onUntil(client, time, atMost) : asked.onFrom(client, time, atMost);
        assert.equal(Math.min(cut, atMost), Math.min(exact, atMost));
        // Nor does what was found on the way change later answers.
        const whole = isUntil ? asked.onUntil(client, time) : asked.onFrom(client, time);
        assert.equal(whole, exact);
      }
    }),
    { numRuns: 80, seed: 22 },
  );
});

test("the answer does not depend on what was asked before", () => {
  fc.assert(
    fc.property(world, ({ models, seed, times }) => {
      const asked = build(models, seed);
      const answers = times.map((time) => asked.onUntil(clientId(1), time));
      const again = times.toReversed().map((time) => {
        asked.isOn(clientId(2), time / 2);
        return asked.onUntil(clientId(1), time);
      });
      assert.deepEqual(again.toReversed(), answers);
      assert.deepEqual(
        times.map((time) => build(models, seed).onUntil(clientId(1), time)),
        answers,
      );
    }),
    { numRuns: 60, seed: 21 },
  );
});
