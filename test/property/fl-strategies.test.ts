import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { coordinateMedian, fedavg, flame, krum, mix, trimmedMean } from "../../src/fl/strategies/registry.ts";
import type { Update } from "../../src/fl/update.ts";
import { aggregate, experts, layout, makeUpdate, stateOf as state } from "../support/fl-updates.ts";

/** Zero or a magnitude in [2⁻¹², 2⁸]: within 2²⁹ of each other, so differences are exact in float64. */
const value = fc
  .oneof(
    fc.constant(0),
    fc.float({ min: 2 ** -12, max: 256, noNaN: true }),
    fc.float({ min: -256, max: -(2 ** -12), noNaN: true }),
  )
  .map(Math.fround);
const adapter = fc
  .array(value, { minLength: layout.size, maxLength: layout.size })
  .map((values) => Float32Array.from(values));
const tokens = 1_000;
const counts = fc.array(fc.integer({ min: 0, max: 300 }), { minLength: experts, maxLength: experts });
const update = fc
  .record({ base: adapter, values: adapter, active: counts, examples: fc.integer({ min: 1, max: 10_000 }) })
  .map((sketch) => makeUpdate({ ...sketch, tokens }));
const updates = fc.array(update, { minLength: 1, maxLength: 6 });
const exponent = fc.double({ min: 0, max: 8, noNaN: true });
const runs = { numRuns: 60 };

const elements = (expert: number) =>
  layout.ranges(expert).flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
const delta = (one: Update, i: number) => one.values[i]! - one.base[i]!;

/** One float32 rounding of the result, and float64 round-off of everything that went into it. */
const close = (a: number, b: number, scale: number) => Math.abs(a - b) <= 2 ** -23 * Math.abs(b) + 1e-12 * (1 + scale);

test("with exponent zero FLAME is FedAvg", () => {
  fc.assert(
    fc.property(adapter, updates, (global, list) => {
      const zero = aggregate(flame({ frequencyExponent: 0 }), state(global), list);
      assert.deepEqual(zero.parameters, aggregate(fedavg(), state(global), list).parameters);
    }),
    runs,
  );
});

test("FLAME equals its formula, computed the slow way", () => {
  fc.assert(
    fc.property(adapter, updates, exponent, (global, list, t) => {
      const next = aggregate(flame({ frequencyExponent: t }), state(global), list).parameters;
      for (let expert = 0; expert < experts; expert++) {
        const trained = list.some((one) => one.counts[expert]! > 0);
        const weights = list.map((one) => one.examples * (one.counts[expert]! / one.units) ** t);
        const total = weights.reduce((a, b) => a + b, 0);
        for (const i of elements(expert)) {
          if (!trained) assert.equal(next[i], global[i]);
          else {
            const moving = list.map((one) => (one.counts[expert]! > 0 ? delta(one, i) : 0));
            const mean = moving.reduce((sum, change, k) => sum + weights[k]! * change, 0) / total;
            assert.ok(close(next[i]!, global[i]! + mean, 1_000), `${next[i]} and ${global[i]! + mean}`);
          }
        }
      }
    }),
    runs,
  );
});

test("a single participant's upload becomes the adapter, bit for bit, wherever it trained", () => {
  fc.assert(
    fc.property(update, exponent, (one, t) => {
      const next = aggregate(flame({ frequencyExponent: t }), state(one.base), [one]).parameters;
      for (let expert = 0; expert < experts; expert++) {
        for (const i of elements(expert)) {
          // Adding a delta of 0 keeps the sign of a zero, so compare as numbers.
          assert.ok(next[i] === (one.counts[expert] === 0 ? one.base[i] : one.values[i]));
        }
      }
    }),
    runs,
  );
});

test("multiplying everyone's frequency of one expert changes nothing", () => {
  fc.assert(
    fc.property(adapter, updates, exponent, fc.nat({ max: experts - 1 }), (global, list, t, expert) => {
      const scaled = list.map((one) => ({
        ...one,
        counts: one.counts.with(expert, one.counts[expert]! * 3),
      }));
      const before = aggregate(flame({ frequencyExponent: t }), state(global), list).parameters;
      const after = aggregate(flame({ frequencyExponent: t }), state(global), scaled).parameters;
      for (const [i, was] of before.entries()) assert.ok(close(after[i]!, was, 1_000));
    }),
    runs,
  );
});

test("an aggregate lies between the smallest and the largest delta", () => {
  const strategies = [flame(), fedavg(), fedavg({ absentPolicy: "renormalise" }), coordinateMedian(), trimmedMean()];
  fc.assert(
    fc.property(updates, fc.constantFrom(...strategies), (list, strategy) => {
      const next = aggregate(strategy, state(new Float32Array(layout.size)), list).parameters;
      for (let expert = 0; expert < experts; expert++) {
        for (const i of elements(expert)) {
          const changes = list.map((one) => (one.counts[expert]! > 0 ? delta(one, i) : 0));
          assert.ok(next[i]! >= Math.fround(Math.min(...changes)), `${strategy.name}: ${next[i]} below all deltas`);
          assert.ok(next[i]! <= Math.fround(Math.max(...changes)), `${strategy.name}: ${next[i]} above all deltas`);
        }
      }
    }),
    runs,
  );
});

test("mixing never leaves the hull of the adapter and the clients", () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(adapter, updates, fc.array(share, { minLength: 6, maxLength: 6 }), (global, list, shares) => {
      const discounted = list.map((one, k) => ({ ...one, discount: shares[k]! }));
      const next = aggregate(mix(), state(global), discounted).parameters;
      for (const [i, mixed] of next.entries()) {
        const corners = [global[i]!, ...list.map((one) => one.values[i]!)];
        assert.ok(mixed >= Math.min(...corners) && mixed <= Math.max(...corners));
      }
    }),
    runs,
  );
});

/** Five honest clients that trained everything, and up to `most` liars. */
const attacked = (most: number) =>
  fc.record({
    honest: fc.array(adapter, { minLength: 5, maxLength: 5 }),
    liars: fc.array(
      adapter.map((values) => values.map((lie) => lie * 1e6)),
      { minLength: 0, maxLength: most },
    ),
    place: fc.nat({ max: 5 }),
  });
const crowd = (honest: readonly Float32Array[], liars: readonly Float32Array[], place: number): Update[] =>
  [...honest.slice(0, place), ...liars, ...honest.slice(place)].map((values, client) => makeUpdate({ client, values }));

test("a minority of liars cannot move median or trimmed mean out of the honest range", () => {
  fc.assert(
    fc.property(attacked(4), ({ honest, liars, place }) => {
      const beta = Math.min(0.499, (liars.length + 1e-3) / (5 + liars.length));
      for (const strategy of [coordinateMedian(), trimmedMean({ trim: beta })]) {
        const next = aggregate(strategy, state(new Float32Array(layout.size)), crowd(honest, liars, place)).parameters;
        for (const [i, result] of next.entries()) {
          const range = honest.map((values) => values[i]!);
          assert.ok(result >= Math.min(...range) && result <= Math.max(...range), `${strategy.name}: ${result}`);
        }
      }
    }),
    runs,
  );
});

test("Krum never chooses a client farther from everyone than the honest are from each other", () => {
  const near = fc.array(fc.float({ min: -1, max: 1, noNaN: true }), { minLength: 5, maxLength: 5 });
  const far = fc.float({ min: 10, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(near, far, fc.nat({ max: 5 }), (honest, lie, place) => {
      const deltas = [...honest.slice(0, place), lie, ...honest.slice(place)];
      const list = deltas.map((change, client) => makeUpdate({ client, delta: change }));
      const next = aggregate(krum({ malicious: 1 }), state(new Float32Array(layout.size)), list).parameters;
      for (const result of next) assert.ok(honest.some((change) => Math.fround(change) === result));
    }),
    runs,
  );
});
