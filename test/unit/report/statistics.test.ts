/** Statistics against scipy on stored tables (`scripts/statistics-goldens.py`), and against what can be worked out by hand. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { estimate, wilson } from "../../../src/report/statistics/intervals.ts";
import { tBound } from "../../../src/report/statistics/student.ts";
import { criticalDifference, holm, pairedTest, ranksOf } from "../../../src/report/statistics/tests.ts";

interface Bounds {
  readonly low: number;
  readonly high: number;
}

const golden = JSON.parse(readFileSync(join(import.meta.dirname, "../../golden/data/statistics.json"), "utf8")) as {
  paired: (Bounds & { values: number[]; p: number })[];
  positive: (Bounds & { values: number[] })[];
  share: (Bounds & { values: number[] })[];
  holm: { p: number[]; adjusted: number[] }[];
  wilson: (Bounds & { hits: number; count: number })[];
  ranks: { values: number[]; ranks: number[] }[];
  range: { methods: number; q: number }[];
};

const near = (actual: number, expected: number, tolerance = 1e-10): void =>
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${actual}, not ${expected}`);

test("the paired test is the one of scipy.stats.ttest_1samp", () => {
  for (const { values, p, low, high } of golden.paired) {
    const found = pairedTest(values)!;
    near(found.p, p);
    near(found.interval.low, low);
    near(found.interval.high, high);
  }
});

test("intervals of what cannot leave its range are Student's on the logarithmic and the logit scale", () => {
  for (const form of ["positive", "share"] as const) {
    for (const { values, low, high } of golden[form]) {
      const { interval, mean } = estimate(values, form)!;
      near(interval!.low, low);
      near(interval!.high, high);
      assert.ok(interval!.low > 0 && interval!.low < mean && mean < interval!.high);
      if (form === "share") assert.ok(interval!.high < 1);
    }
  }
});

test("Holm's correction, Wilson's interval and ranks are those of scipy", () => {
  for (const { p, adjusted } of golden.holm) {
    for (const [at, value] of holm(p).entries()) near(value, adjusted[at]!);
  }
  for (const { hits, count, low, high } of golden.wilson) {
    near(wilson(hits / count, count).low, low);
    near(wilson(hits / count, count).high, high);
  }
  for (const { values, ranks } of golden.ranks) assert.deepEqual(ranksOf(values), ranks);
});

test("the critical difference has the studentized range of scipy, and of Demšar's table", () => {
  const q = (methods: number): number => criticalDifference(methods, 1) / Math.sqrt((methods * (methods + 1)) / 12);
  // scipy integrates to about seven digits.
  for (const { methods, q: expected } of golden.range) near(q(methods), expected, 1e-6);
  // Table 5 of the paper, for two to ten classifiers, to its three decimals.
  for (const [at, value] of [1.96, 2.343, 2.569, 2.728, 2.85, 2.949, 3.031, 3.102, 3.164].entries()) {
    near(q(at + 2) / Math.SQRT2, value, 6e-4);
  }
  near(criticalDifference(5, 20), criticalDifference(5, 5) / 2);
});

test("with two degrees of freedom the test is a closed form", () => {
  // P(|T| > t) = 1 − t ÷ √(2 + t²); here the mean is 2 and the standard error 1 ÷ √3.
  const t = 2 * Math.sqrt(3);
  near(pairedTest([1, 2, 3])!.p, 1 - t / Math.sqrt(2 + t ** 2), 1e-12);
});

test("bounds are those of the published table of Student's t", () => {
  for (const [degrees, value] of [
    [1, 12.706],
    [2, 4.303],
    [3, 3.182],
    [4, 2.776],
    [9, 2.262],
    [29, 2.045],
    [120, 1.98],
  ]) {
    near(tBound(0.95, degrees!), value!, 6e-4);
  }
});

test("fewer than three values have a mean and no interval, and what is no number is in neither", () => {
  assert.deepEqual(estimate([7], "real"), { mean: 7, interval: null, count: 1 });
  assert.deepEqual(estimate([1, Number.NaN, 3], "real"), { mean: 2, interval: null, count: 2 });
  assert.equal(estimate([Number.NaN], "real"), null);
  assert.equal(pairedTest([0.1, 0.2]), null);
  assert.equal(pairedTest([0.1, 0.2, Number.NaN]), null);
});

test("shares that are all 0 or all 1 say nothing of their spread", () => {
  assert.equal(estimate([0, 0, 0], "share")!.interval, null);
  assert.equal(estimate([1, 1, 1, 1], "share")!.interval, null);
});

test("what is always the same is no difference, or a certain one", () => {
  assert.equal(pairedTest([0, 0, 0])!.p, 1);
  assert.equal(pairedTest([0.5, 0.5, 0.5])!.p, 0);
});

test("no numbers come last among ranks, together", () => {
  assert.deepEqual(ranksOf([0.2, Number.NaN, 0.1, Number.NaN]), [2, 3.5, 1, 3.5]);
});
