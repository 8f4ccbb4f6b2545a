/** Laws of chance against their formulas, and simulated rounds against order statistics. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { problemsOf } from "../../../src/base/problem.ts";
import { Rng } from "../../../src/base/random.ts";
import { drawFrom, type Law, lawSchema } from "../../../src/sim/fleet/laws.ts";
import { computeRounds, equalFleet, moments } from "../../support/sim-world.ts";

const draws = 40_000;

function sample(law: Law): number[] {
  const lane = new Rng(7).at("law");
  return Array.from({ length: draws }, (_, i) => drawFrom(law, lane.at(i)));
}

/** Mean and variance by formula. */
const laws: readonly [name: string, law: Law, mean: number, variance: number][] = [
  ["uniform", { type: "uniform", min: 2, max: 6 }, 4, 16 / 12],
  [
    "log-normal by median",
    { type: "log-normal", median: 2, sigma: 0.5 },
    2 * Math.exp(0.125),
    4 * Math.exp(0.25) * (Math.exp(0.25) - 1),
  ],
  ["log-normal by mean and cv", { type: "log-normal", mean: 3, cv: 0.4 }, 3, 9 * 0.16],
  ["shifted exponential", { type: "exponential", mean: 2, minimum: 1 }, 3, 4],
  ["half-normal", { type: "half-normal", sd: 2, minimum: 1 }, 1 + 2 * Math.sqrt(2 / Math.PI), 4 * (1 - 2 / Math.PI)],
  ["Pareto", { type: "pareto", minimum: 1, alpha: 5 }, 5 / 4, 5 / (16 * 3)],
  ["Weibull, shape 2", { type: "weibull", scale: 1, shape: 2 }, Math.sqrt(Math.PI) / 2, 1 - Math.PI / 4],
  ["gamma", { type: "gamma", scale: 2, shape: 3 }, 6, 12],
];

for (const [name, law, mean, variance] of laws) {
  test(`${name} has the mean and variance of its formula`, () => {
    const found = moments(sample(law));
    // Four standard errors; that of the variance taken from the fourth moment of the sample.
    assert.ok(Math.abs(found.mean - mean) < 4 * found.error, `mean ${found.mean}, expected ${mean}`);
    const fourth = moments(sample(law).map((value) => (value - found.mean) ** 2));
    assert.ok(
      Math.abs(found.variance - variance) < 4 * fourth.error,
      `variance ${found.variance}, expected ${variance}`,
    );
  });
}

test("a normal above 0 is never 0 or less", () => {
  assert.ok(sample({ type: "normal", mean: 1, sd: 2 }).every((value) => value > 0));
});

test("half-normal response times end below their 95 % point for 95 % of tasks", () => {
  const below = sample({ type: "half-normal", sd: 1, minimum: 1 }).filter((value) => value < 2.96).length / draws;
  assert.ok(Math.abs(below - 0.95) < 4 * Math.sqrt((0.95 * 0.05) / draws), `${below}`);
});

const harmonic = (n: number): number => (n === 0 ? 0 : harmonic(n - 1) + 1 / n);

/** ln Γ for half-integers and the like, by Stirling's series after a shift. */
function logGamma(x: number): number {
  if (x < 10) return logGamma(x + 1) - Math.log(x);
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + 1 / (12 * x) - 1 / (360 * x ** 3);
}

/** E of the K-th of n Pareto times with minimum 1. */
const paretoOrder = (n: number, k: number, alpha: number): number =>
  Math.exp(logGamma(n + 1) + logGamma(n - k + 1 - 1 / alpha) - logGamma(n + 1 - 1 / alpha) - logGamma(n - k + 1));

const logNormal = (sigma: number): Law => ({ type: "log-normal", median: 1, sigma });

/** E of the largest of 100 and of the 100th of 130, from the closed forms or, to three digits, the method's table. */
const orders: readonly [name: string, law: Law, ofHundred: number, overSelected: number][] = [
  ["exponential", { type: "exponential", mean: 1 }, harmonic(100), harmonic(130) - harmonic(30)],
  ["half-normal", { type: "half-normal", sd: 1 }, 2.75, 1.19],
  ["log-normal 0.3", logNormal(0.3), 2.13, 1.24],
  ["log-normal 0.6", logNormal(0.6), 4.65, 1.55],
  ["log-normal 1", logNormal(1), 13.5, 2.07],
  ["log-normal 1.36", logNormal(1.36), 37, 2.71],
  ["Pareto 3", { type: "pareto", minimum: 1, alpha: 3 }, paretoOrder(100, 100, 3), paretoOrder(130, 100, 3)],
  ["Pareto 2", { type: "pareto", minimum: 1, alpha: 2 }, NaN, paretoOrder(130, 100, 2)],
  ["Pareto 1.5", { type: "pareto", minimum: 1, alpha: 1.5 }, NaN, paretoOrder(130, 100, 1.5)],
];

test("the closed form of Pareto order statistics gives the published table", () => {
  assert.deepEqual(
    [3, 2, 1.5].map((alpha) => [paretoOrder(100, 100, alpha).toPrecision(3), paretoOrder(130, 100, alpha).toFixed(2)]),
    [
      ["6.29", "1.63"],
      ["17.7", "2.08"],
      ["57.8", "2.65"],
    ],
  );
});

for (const [name, law, ofHundred, overSelected] of orders) {
  test(`${name} times: rounds that wait for all of 100, or for 100 of 130, last as order statistics say`, async () => {
    const rounds = 600;
    // Scaled up so that whole milliseconds do not round anything away; the table is rounded to half a unit of its last
    // digit, 0.5 %. Pareto maxima with α ≤ 2 have no variance, and no sample mean to speak of.
    const duration = 1_000;
    const scaled = scale(law, duration);
    const kth = (times: number[][], k: number) => times.map((one) => one.sort((a, b) => a - b)[k - 1]! / duration);
    const options = (size: number) => ({ fleet: equalFleet({ size }), spec: { compute: { duration: scaled } } });
    if (!Number.isNaN(ofHundred)) {
      const { mean, error } = moments(kth(await computeRounds(options(100), rounds), 100));
      assert.ok(Math.abs(mean - ofHundred) < 4 * error + 0.015 * ofHundred, `all: ${mean}, expected ${ofHundred}`);
    }
    const { mean } = moments(kth(await computeRounds(options(130), rounds), 100));
    assert.ok(Math.abs(mean - overSelected) < 0.02 * overSelected, `over-selected: ${mean}, expected ${overSelected}`);
  });
}

function scale(law: Law, by: number): Law {
  if (typeof law === "number") return law * by;
  const { ...scaled } = law as unknown as Record<string, number>;
  for (const key of ["mean", "sd", "median", "minimum"]) if (scaled[key] !== undefined) scaled[key] = scaled[key] * by;
  return scaled as unknown as Law;
}

test("a deadline at a quantile of the response times loses the share above it", async () => {
  // ln T ~ N(0, 0.6²) with 90 % point exp(0.6 · 1.2816).
  const times = (
    await computeRounds({ fleet: equalFleet({ size: 500 }), spec: { compute: { duration: logNormal(0.6) } } }, 40)
  ).flat();
  const late = times.filter((time) => time > Math.exp(0.6 * 1.2816)).length / times.length;
  assert.ok(Math.abs(late - 0.1) < 4 * Math.sqrt(0.09 / times.length), `${late}`);
});

test("what a law cannot be is found before it is drawn from", () => {
  const wrong: readonly Law[] = [
    0,
    { type: "uniform", min: 3, max: 2 },
    { type: "normal", mean: 0, sd: 1 },
    { type: "log-normal", median: -1, sigma: 1 },
    { type: "log-normal", mean: 1, cv: -1 },
    { type: "pareto", minimum: 1, alpha: 0 },
    { type: "gamma", scale: 1, shape: 0 },
  ];
  for (const law of wrong) assert.equal(problemsOf(lawSchema, law).length, 1, JSON.stringify(law));
  assert.deepEqual(problemsOf(lawSchema, { type: "half-normal", sd: 0 }, "compute.noise"), [
    { path: "compute.noise.sd", text: "is 0, expected more than 0" },
  ]);
});
