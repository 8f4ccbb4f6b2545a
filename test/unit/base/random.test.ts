import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError } from "../../../src/base/errors.ts";
import { type Draws, philox4x32, Rng } from "../../../src/base/random.ts";

const draws = (purpose: string) => new Rng(42).at(purpose, 7).at(3);

/** Mean and variance of `count` numbers. */
function moments(count: number, draw: () => number): { mean: number; variance: number } {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < count; i++) {
    const value = draw();
    sum += value;
    squares += value * value;
  }
  const mean = sum / count;
  return { mean, variance: squares / count - mean * mean };
}

/** Both moments within five standard errors, which a right generator misses once in two million seeds; ours is fixed. */
function assertMoments(draw: () => number, mean: number, variance: number, kurtosis: number): void {
  const count = 100_000;
  const seen = moments(count, draw);
  const meanError = 5 * Math.sqrt(variance / count);
  const varianceError = 5 * variance * Math.sqrt((kurtosis - 1) / count);
  assert.ok(Math.abs(seen.mean - mean) < meanError, `mean ${seen.mean}, expected ${mean} ± ${meanError}`);
  assert.ok(
    Math.abs(seen.variance - variance) < varianceError,
    `variance ${seen.variance}, expected ${variance} ± ${varianceError}`,
  );
}

test("philox gives the words published with Random123", () => {
  // kat_vectors, philox4x32 with 10 rounds: counter, key, expected.
  const vectors = [
    [[0, 0, 0, 0], [0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[-1, -1, -1, -1], [-1, -1], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ] as const;
  const out = new Int32Array(4);
  for (const [[c0, c1, c2, c3], [k0, k1], expected] of vectors) {
    philox4x32(c0, c1, c2, c3, k0, k1, out);
    assert.equal([...out].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join(" "), expected);
  }
});

test("the numbers of a key never change from one version to the next", () => {
  const stream = new Rng(42).at("dropout", 3).at(17);
  assert.deepEqual(
    [stream.uniform(), stream.below(1_000), stream.normal()],
    [0.9141133864484541, 649, 1.9083936508366448],
  );
});

test("a stream asked for twice begins again with the same numbers", () => {
  const rng = new Rng(1);
  const first = rng.at("x", 2).at(3);
  const numbers = Array.from({ length: 9 }, () => first.uniform());
  rng.at("y").at(0).uniform();
  const second = rng.at("x", 2).at(3);
  assert.deepEqual(
    Array.from({ length: 9 }, () => second.uniform()),
    numbers,
  );
});

test("seed, purpose, index and item each lead to another stream", () => {
  const far = 2 ** 40;
  const firsts = [
    new Rng(1).at("x", 2).at(3),
    new Rng(4).at("x", 2).at(3),
    new Rng(1 + far).at("x", 2).at(3),
    new Rng(1).at("y", 2).at(3),
    new Rng(1).at("x\0", 2).at(3),
    new Rng(1).at("a longer purpose", 2).at(3),
    new Rng(1).at("a longer purposf", 2).at(3),
    new Rng(1).at("x", 3).at(2),
    new Rng(1).at("x", 2 + far).at(3),
    new Rng(1).at("x", 2).at(3 + far),
    new Rng(1).at("x", 2 + far).at(3 + far),
  ].map((stream) => stream.uniform());
  assert.equal(new Set(firsts).size, firsts.length);
});

test("streams of neighbouring clients are not correlated", () => {
  const lane = new Rng(9).at("speed", 1);
  const count = 20_000;
  let products = 0;
  for (let client = 0; client < count; client++) {
    products += (lane.at(client).uniform() - 0.5) * (lane.at(client + 1).uniform() - 0.5);
  }
  // Each product has variance 1/144, so five standard errors of the mean are 5 / (12·√20000).
  assert.ok(Math.abs(products / count) < 5 / (12 * Math.sqrt(count)));
});

test("coordinates that are negative, fractional or too large are refused", () => {
  const rng = new Rng(0);
  for (const bad of [-1, 0.5, 2 ** 48, NaN]) {
    assert.throws(() => rng.at("x", bad), InvariantError);
    assert.throws(() => rng.at("x").at(bad), InvariantError);
  }
  assert.throws(() => new Rng(-1), /seed is -1/);
  assert.throws(() => new Rng(2 ** 53), InvariantError);
});

test("each distribution has the mean and variance of its textbook", () => {
  const uniform = draws("uniform");
  assertMoments(() => uniform.uniform(), 1 / 2, 1 / 12, 1.8);
  const normal = draws("normal");
  assertMoments(() => normal.normal(), 0, 1, 3);
  const exponential = draws("exponential");
  assertMoments(() => exponential.exponential(250), 250, 250 ** 2, 9);
  for (const shape of [0.2, 1, 4.5]) {
    const gamma = draws(`gamma ${shape}`);
    assertMoments(() => gamma.gamma(shape), shape, shape, 3 + 6 / shape);
  }
  const beta = draws("beta");
  // a = 2, b = 6: mean 1/4, variance ab / ((a+b)²(a+b+1)) = 12/576, kurtosis 3.1 rounded up.
  assertMoments(() => beta.beta(2, 6), 1 / 4, 1 / 48, 3.2);
  const logNormal = draws("logNormal");
  // Of ln X, since the fourth moment of X itself is huge.
  assertMoments(() => Math.log(logNormal.logNormal(1, 0.5)), 1, 0.25, 3);
  for (const mean of [0.5, 9.9, 10, 300]) {
    const poisson = draws(`poisson ${mean}`);
    assertMoments(() => poisson.poisson(mean), mean, mean, 3 + 1 / mean);
  }
});

test("poisson counts below and above ten have their exact probabilities", () => {
  for (const mean of [3, 12]) {
    const stream = draws(`poisson law ${mean}`);
    const count = 300_000;
    const seen = new Float64Array(100);
    for (let i = 0; i < count; i++) seen[stream.poisson(mean)]! += 1;
    let expected = count * Math.exp(-mean);
    let chiSquare = 0;
    let cells = 0;
    for (let k = 0; k < 60; k++) {
      if (expected > 20) {
        chiSquare += (seen[k]! - expected) ** 2 / expected;
        cells++;
      }
      expected *= mean / (k + 1);
    }
    // χ² has mean `cells` and variance 2·`cells`; five deviations above are not met by chance.
    assert.ok(chiSquare < cells + 5 * Math.sqrt(2 * cells), `χ² = ${chiSquare} over ${cells} cells, mean ${mean}`);
  }
  assert.equal(draws("none").poisson(0), 0);
});

test("a rejected multiple would show: every face of an awkward die is as likely", () => {
  // With n = 3·2³⁰ and no rejection, the lowest third of results would come twice as often.
  const stream = draws("die");
  const n = 3 * 2 ** 30;
  const thirds = [0, 0, 0];
  for (let i = 0; i < 30_000; i++) thirds[Math.floor(stream.below(n) / 2 ** 30)]! += 1;
  // Five standard deviations of a binomial(30000, 1/3) are 408.
  for (const count of thirds) assert.ok(Math.abs(count - 10_000) < 408, String(thirds));
});

test("bernoulli never happens at 0 and always at 1", () => {
  const stream = draws("coin");
  for (let i = 0; i < 1_000; i++) {
    assert.equal(stream.bernoulli(0), false);
    assert.equal(stream.bernoulli(1), true);
  }
});

test("all orders of three, and all ordered pairs of three, are as likely", () => {
  const stream = draws("orders");
  const trials = 60_000;
  const tally = (draw: (stream: Draws) => readonly number[]) => {
    const counts = new Map<string, number>();
    for (let i = 0; i < trials; i++) {
      const key = draw(stream).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts.values()];
  };
  for (const counts of [tally((s) => s.shuffle([0, 1, 2])), tally((s) => s.sample(3, 2))]) {
    assert.equal(counts.length, 6);
    // Five standard deviations of a binomial(60000, 1/6) are 456.
    for (const count of counts) assert.ok(Math.abs(count - 10_000) < 456, String(counts));
  }
});

test("a small sample of a huge range costs little and may be the whole range", () => {
  assert.equal(new Set(draws("huge").sample(1e15, 100)).size, 100);
  assert.deepEqual(
    draws("whole")
      .sample(5, 5)
      .sort((a, b) => a - b),
    [0, 1, 2, 3, 4],
  );
  assert.throws(() => draws("more").sample(5, 6), /sample\(5, 6\)/);
});

test("dirichlet shares follow alpha: one owner when it is tiny, equal parts when it is large", () => {
  const tiny = draws("tiny").dirichlet(1e-4, 10);
  assert.ok(Math.max(...tiny) > 0.999);
  const large = draws("large").dirichlet(1e6, 10);
  for (const share of large) assert.ok(Math.abs(share - 0.1) < 0.001);
});

test("shapes and means outside their range are refused", () => {
  const stream = draws("bad");
  assert.throws(() => stream.gamma(0), /shape is 0/);
  assert.throws(() => stream.gamma(NaN), /shape is NaN/);
  assert.throws(() => stream.gamma(Infinity), /shape is Infinity/);
  assert.throws(() => stream.poisson(-1), /poisson\(-1\)/);
  assert.throws(() => stream.below(0), /below\(0\)/);
  assert.throws(() => stream.below(2.5), /below\(2.5\)/);
});
