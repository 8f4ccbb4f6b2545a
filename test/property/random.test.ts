import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Rng } from "../../src/base/random.ts";

const seed = fc.maxSafeNat();
const coordinate = fc.oneof(fc.nat(), fc.integer({ min: 0, max: 2 ** 48 - 1 }));

test("a client's draws do not depend on which other streams were used before or between", () => {
  fc.assert(
    fc.property(seed, fc.string(), coordinate, coordinate, fc.array(coordinate), (s, purpose, index, item, others) => {
      const alone = new Rng(s).at(purpose, index).at(item);
      const lane = new Rng(s).at(purpose, index);
      const among = lane.at(item);
      for (const other of [0, ...others]) {
        lane.at(other).normal();
        assert.equal(among.uniform(), alone.uniform());
      }
    }),
  );
});

test("every draw keeps to its range", () => {
  const n = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }));
  fc.assert(
    fc.property(seed, n, fc.double({ min: 1e-3, max: 1e3, noNaN: true }), (s, n, shape) => {
      const draws = new Rng(s).at("range").at(0);
      const uniform = draws.uniform();
      assert.ok(uniform >= 0 && uniform < 1);
      const below = draws.below(n);
      assert.ok(Number.isSafeInteger(below) && below >= 0 && below < n);
      assert.ok(draws.gamma(shape) >= 0);
      const beta = draws.beta(shape, 1);
      assert.ok(beta >= 0 && beta <= 1);
      assert.ok(draws.exponential(shape) >= 0);
      const count = draws.poisson(shape);
      assert.ok(Number.isSafeInteger(count) && count >= 0);
    }),
  );
});

test("a sample holds distinct members of its range", () => {
  const sizes = fc.nat(200).chain((n) => fc.tuple(fc.constant(n), fc.nat(n)));
  fc.assert(
    fc.property(seed, sizes, (s, [n, count]) => {
      const sample = new Rng(s).at("sample").at(0).sample(n, count);
      assert.equal(new Set(sample).size, count);
      for (const member of sample) assert.ok(Number.isInteger(member) && member >= 0 && member < n);
    }),
  );
});

test("shuffling keeps every element, in arrays plain and typed", () => {
  fc.assert(
    fc.property(seed, fc.array(fc.nat(50)), (s, values) => {
      const sorted = values.toSorted((a, b) => a - b);
      const draws = new Rng(s).at("shuffle").at(0);
      assert.deepEqual(
        draws.shuffle([...values]).sort((a, b) => a - b),
        sorted,
      );
      assert.deepEqual([...draws.shuffle(Uint8Array.from(values)).sort()], sorted);
    }),
  );
});

test("dirichlet shares sum to one for any alpha, however small", () => {
  const alpha = fc.double({ min: 1e-6, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(seed, alpha, fc.integer({ min: 1, max: 50 }), (s, alpha, n) => {
      const shares = new Rng(s).at("dirichlet").at(0).dirichlet(alpha, n);
      assert.ok(shares.every((share) => share >= 0 && share <= 1));
      // At most n roundings of half an ulp each.
      assert.ok(Math.abs(shares.reduce((sum, share) => sum + share, 0) - 1) < 1e-13);
    }),
  );
});
