/** Losses against the closed forms of section 6 of the method, each over enough draws for four standard errors. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { problemsOf } from "../../../src/base/problem.ts";
import { Rng } from "../../../src/base/random.ts";
import { hours, minutes, seconds } from "../../../src/base/units.ts";
import {
  drawRoundRate,
  type FaultSpec,
  faults,
  faultsSchema,
  hazardLosing,
  inescapableFaults,
} from "../../../src/sim/flight/faults.ts";
import { computeRounds, equalFleet, moments, type Part, play, shareError } from "../../support/sim-world.ts";

const parts = (clients: number, rounds: number): Part[] =>
  Array.from({ length: clients * rounds }, (_, i) => {
    const round = Math.floor(i / clients);
    return { client: i % clients, round: round + 1, at: round * 1_000_000 };
  });

const root = new URL("../../../src/", import.meta.url);
const sources = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => [path, readFileSync(new URL(path, root), "utf8")] as const);

const lostIn = (times: number[]) => times.filter((time) => time === Infinity).length;

test("independent phases lose 1 − (1 − p₁)(1 − p₂)(1 − p₃) together, each in its own phase", async () => {
  const all = parts(1_000, 20);
  const faults = { download: 0.01, training: 0.04, upload: 0.03 };
  const results = await play({ fleet: equalFleet({ size: 1_000 }), spec: { faults } }, all);
  const lost = results.filter(({ loss }) => loss !== null);
  const expected = 1 - 0.99 * 0.96 * 0.97;
  assert.ok(Math.abs(expected - 0.078) < 0.001);
  assert.ok(Math.abs(lost.length / all.length - expected) < 4 * shareError(expected, all.length), `${lost.length}`);
  const share = (phase: string) => lost.filter(({ loss }) => loss!.phase === phase).length / all.length;
  assert.ok(Math.abs(share("download") - 0.01) < 4 * shareError(0.01, all.length));
  assert.ok(Math.abs(share("training") - 0.99 * 0.04) < 4 * shareError(0.04, all.length));
  assert.ok(Math.abs(share("upload") - 0.99 * 0.96 * 0.03) < 4 * shareError(0.03, all.length));
});

test("every phase can fail, and says so", async () => {
  const phases = {
    beforeDownload: "before-download",
    download: "download",
    training: "training",
    preliminary: "preliminary",
    answer: "answer",
    upload: "upload",
    acknowledge: "acknowledge",
  } as const;
  for (const [name, phase] of Object.entries(phases)) {
    const fleet = equalFleet({ size: 3 });
    const results = await play({ fleet, spec: { faults: { [name]: 1 } } }, parts(3, 1), { hasAsked: true });
    for (const { loss } of results) assert.deepEqual([loss?.phase, loss?.reason], [phase, "dropout"]);
  }
});

test("a client that crashes is lost in training, with the reason crash", async () => {
  const [result] = await play({ fleet: equalFleet({ size: 1 }), spec: { faults: { crash: 1 } } }, parts(1, 1));
  assert.deepEqual([result!.loss?.phase, result!.loss?.reason], ["training", "crash"]);
});

test("a corrupted update arrives, and the receiver can tell", async () => {
  const fleet = equalFleet({ size: 2_000 });
  const results = await play({ fleet, spec: { faults: { corruptedUpdate: 0.2 } } }, parts(2_000, 1));
  assert.ok(results.every(({ loss }) => loss === null));
  const share = results.filter(({ isCorrupted }) => isCorrupted).length / 2_000;
  assert.ok(Math.abs(share - 0.2) < 4 * shareError(0.2, 2_000), `${share}`);
});

test("dropouts in training stop after a uniform share of the steps", async () => {
  const results = await play(
    { fleet: equalFleet({ size: 2_000 }), spec: { faults: { training: 1 } } },
    parts(2_000, 1),
    { duration: seconds(100), downloadBytes: 0 },
  );
  const { mean, variance, error } = moments(results.map(({ endedAt }) => endedAt / 100_000));
  assert.ok(Math.abs(mean - 0.5) < 4 * error, `${mean}`);
  assert.ok(Math.abs(variance - 1 / 12) < 0.01, `${variance}`);
});

test("a hazard loses 1 − exp(−hT), so slow devices drop more", async () => {
  const faults = { hazardPerHour: 2 };
  const options = { fleet: equalFleet({ size: 1_000 }), spec: { faults } };
  let before = 0;
  for (const duration of [minutes(3), minutes(15), minutes(60)]) {
    const rounds = 8;
    const lost = (await computeRounds(options, rounds, duration)).reduce((sum, times) => sum + lostIn(times), 0);
    const expected = 1 - Math.exp((-2 * duration) / hours(1));
    const share = lost / (rounds * 1_000);
    assert.ok(Math.abs(share - expected) < 4 * shareError(expected, rounds * 1_000), `${share}, expected ${expected}`);
    assert.ok(share > before);
    before = share;
  }
});

test("a hazard covers all phases of a part alike", async () => {
  // Ten minutes each of download and upload at 1 kB/s, ten of training.
  const all = parts(1_000, 10).map((part) => ({ ...part, at: part.at * 10 }));
  const fleet = equalFleet({ size: 1_000, rate: 1_000 });
  const cost = { downloadBytes: 600_000, uploadBytes: 600_000, duration: minutes(10), stages: 3 };
  const results = await play({ fleet, spec: { faults: { hazardPerHour: 0.4 } } }, all, cost);
  const share = results.filter(({ loss }) => loss !== null).length / all.length;
  const expected = 1 - Math.exp(-0.2);
  assert.ok(Math.abs(share - expected) < 4 * shareError(expected, all.length), `${share}, expected ${expected}`);
  for (const phase of ["download", "training", "upload"]) {
    assert.ok(
      results.some(({ loss }) => loss?.phase === phase),
      phase,
    );
  }
});

test("a hazard made to lose a share of tasks of a length does so", () => {
  assert.ok(Math.abs(1 - Math.exp((-hazardLosing(0.08, minutes(5)) * 5) / 60) - 0.08) < 1e-12);
});

/** Losses per round of a fleet of 100. */
async function counts(faults: object, rounds: number): Promise<number[]> {
  const fleet = equalFleet({ size: 100 });
  return (await computeRounds({ fleet, spec: { faults } }, rounds)).map(lostIn);
}

test("a beta rate per round makes the count beta-binomial: variance 43.8 instead of 7.4", async () => {
  const rounds = 1_000;
  const roundRate = { type: "beta", mean: 0.08, correlation: 0.05 };
  const { mean, variance, error } = moments(await counts({ roundRate }, rounds));
  assert.ok(Math.abs(mean - 8) < 4 * error, `mean ${mean}`);
  const expected = 100 * 0.08 * 0.92 * (1 + 99 * 0.05);
  assert.ok(Math.abs(expected - 43.8) < 0.05);
  // The count's kurtosis is about 5, so the variance has a standard error of sqrt(4 / rounds) of itself.
  assert.ok(Math.abs(variance - expected) < 4 * expected * Math.sqrt(4 / rounds), `variance ${variance}`);
  const flat = moments(await counts({ training: 0.08 }, 300)).variance;
  assert.ok(Math.abs(flat - 7.36) < 4 * 7.36 * Math.sqrt(2 / 300), `flat variance ${flat}`);
});

test("beta rates have the mean and the variance μ(1 − μ)ρ that were asked for", () => {
  const rates = Array.from({ length: 30_000 }, (_, at) =>
    drawRoundRate({ type: "beta", mean: 0.08, correlation: 0.05 }, new Rng(1).at("rates").at(at)),
  );
  const { mean, variance, error } = moments(rates);
  assert.ok(Math.abs(mean - 0.08) < 4 * error, `mean ${mean}`);
  const expected = 0.08 * 0.92 * 0.05;
  assert.ok(Math.abs(variance / expected - 1) < 4 * Math.sqrt(4 / 30_000), `variance ${variance}, not ${expected}`);
});

test("an exponential rate per round has mean 0.1, and is above 0.3 in 5 % of rounds", async () => {
  const found = await counts({ roundRate: { type: "exponential", rate: 10 } }, 600);
  const { mean, error } = moments(found);
  assert.ok(Math.abs(mean - 10) < 4 * error, `${mean}`);
  const high = found.filter((count) => count > 30).length / 600;
  assert.ok(Math.abs(high - 0.05) < 4 * shareError(0.05, 600), `${high}`);
});

test("shared shocks: each client fails with p = .075, two of one region with correlation .16", async () => {
  const rounds = 300;
  const pairs = 200;
  const fleet = equalFleet({ size: 2 * pairs, regions: pairs });
  const faults = { training: 0.06, shocks: { probability: 0.02, severity: 0.8 } };
  const times = await computeRounds({ fleet, spec: { faults } }, rounds);
  let fails = 0;
  let both = 0;
  let strangers = 0;
  for (const round of times) {
    for (let i = 0; i < pairs; i++) {
      const first = round[i] === Infinity;
      const second = round[i + pairs] === Infinity;
      fails += Number(first) + Number(second);
      both += Number(first && second);
      strangers += Number(first && round[((i + 1) % pairs) + pairs] === Infinity);
    }
  }
  const n = rounds * pairs;
  const p = fails / (2 * n);
  const expected = 1 - 0.94 * (1 - 0.02 * 0.8);
  assert.ok(Math.abs(expected - 0.075) < 2e-4);
  assert.ok(Math.abs(p - expected) < 4 * 1.1 * shareError(expected, 2 * n), `p ${p}`);
  const pair = 1 - 2 * (1 - expected) + 0.94 ** 2 * (1 - 0.02 + 0.02 * 0.2 ** 2);
  assert.ok(Math.abs(both / n - pair) < 4 * shareError(pair, n), `both ${both / n}, expected ${pair}`);
  const correlation = (count: number) => (count / n - p * p) / (p * (1 - p));
  assert.ok(Math.abs(correlation(both) - 0.16) < 0.02, `correlation ${correlation(both)}`);
  assert.ok(Math.abs(correlation(strangers)) < 0.01, `between regions ${correlation(strangers)}`);
});

test("swizzled failures hit another subset in each window of time", async () => {
  const fleet = equalFleet({ size: 400 });
  const faults = { swizzle: { window: hours(1), share: 0.3, probability: 1 } };
  const all = [0, 1, 2].flatMap((window) =>
    Array.from({ length: 400 }, (_, client) => ({ client, round: window + 1, at: window * hours(1) + 1 })),
  );
  const results = await play({ fleet, spec: { faults } }, all);
  const lost = [0, 1, 2].map(
    (window) => new Set(results.filter((r, i) => Math.floor(i / 400) === window && r.loss).map((r) => r.part.client)),
  );
  for (const set of lost) assert.ok(Math.abs(set.size / 400 - 0.3) < 4 * shareError(0.3, 400), `${set.size}`);
  const common = [...lost[0]!].filter((client) => lost[1]!.has(client)).length;
  assert.ok(Math.abs(common / 400 - 0.09) < 4 * shareError(0.09, 400), `${common}`);
});

test("a tier's own dropout adds to the world's", async () => {
  const fleet = { ...equalFleet({ size: 4_000, tiers: ["phone", "server"] }), tierDropout: [0.5, 0] };
  const results = await play({ fleet, spec: { faults: { training: 0.2 } } }, parts(4_000, 1));
  const lost = (tier: number) => results.filter(({ part, loss }) => part.client % 2 === tier && loss).length / 2_000;
  assert.ok(Math.abs(lost(0) - 0.6) < 4 * shareError(0.6, 2_000), `${lost(0)}`);
  assert.ok(Math.abs(lost(1) - 0.2) < 4 * shareError(0.2, 2_000), `${lost(1)}`);
});

/** P(Bin(n, p) ≥ k). */
function atLeast(n: number, k: number, p: number): number {
  let term = (1 - p) ** n;
  let sum = k <= 0 ? term : 0;
  for (let i = 1; i <= n; i++) {
    term *= ((n - i + 1) / i) * (p / (1 - p));
    if (i >= k) sum += term;
  }
  return sum;
}

test("over-selection succeeds as often as the binomial says", async () => {
  for (const [n, k, loss, published] of [
    [13, 10, 0.06, 0.994],
    [13, 10, 0.08, 0.984],
    [13, 10, 0.1, 0.966],
    [130, 100, 0.2, 0.84],
    [130, 100, 0.25, 0.35],
  ] as const) {
    const rounds = 300;
    const times = await computeRounds({ fleet: equalFleet({ size: n }), spec: { faults: { training: loss } } }, rounds);
    const share = times.filter((round) => n - lostIn(round) >= k).length / rounds;
    const expected = atLeast(n, k, 1 - loss);
    assert.ok(Math.abs(expected - published) < 0.006, `${expected}`);
    assert.ok(Math.abs(share - expected) < 4 * shareError(expected, rounds), `${n}: ${share}, expected ${expected}`);
  }
});

test("with correlated loss the margin of 1.3 is worth less: .97", async () => {
  // Without correlation it would be 1, to eight digits; four standard errors of 1,000 rounds are 0.022.
  const rounds = 1_000;
  const faults = { roundRate: { type: "beta", mean: 0.08, correlation: 0.05 } as const };
  const times = await computeRounds({ fleet: equalFleet({ size: 130 }), spec: { faults } }, rounds);
  const share = times.filter((round) => 130 - lostIn(round) >= 100).length / rounds;
  assert.ok(Math.abs(share - 0.97) < 4 * shareError(0.97, rounds), `${share}`);
});

test("impossible faults are named with their field", () => {
  assert.deepEqual(
    problemsOf(faultsSchema, { training: 1.2, roundRate: { type: "beta", mean: 0.1, correlation: 0 } }),
    [
      { path: "training", text: "is 1.2, expected a probability in [0, 1]" },
      { path: "roundRate.correlation", text: "is 0, expected a number in (0, 1)" },
    ],
  );
});

/** Each fault at its strongest. */
const strongest: Required<FaultSpec> = {
  beforeDownload: 1,
  download: 1,
  training: 1,
  preliminary: 1,
  answer: 1,
  upload: 1,
  acknowledge: 1,
  crash: 1,
  corruptedUpdate: 1,
  hazardPerHour: 1e9,
  roundRate: { type: "exponential", rate: 1e-9 },
  shocks: { probability: 1, severity: 1 },
  swizzle: { window: hours(1), share: 1, probability: 1 },
};

for (const name of Object.keys(faults) as (keyof typeof faults)[]) {
  test(`${name} is a field of a scenario's faults, and strikes by itself`, async () => {
    const only = faultsSchema.parse({ [name]: strongest[name] });
    const cost = { downloadBytes: 1_000, uploadBytes: 1_000, duration: minutes(1), hasAsked: true };
    const [result] = await play({ fleet: equalFleet({ size: 1 }), spec: { faults: only } }, parts(1, 1), cost);
    assert.ok(result!.loss !== null || result!.isCorrupted);
    assert.notDeepEqual(problemsOf(faultsSchema, { [name]: -1 }), []);
  });

  test(`only the file of faults knows ${name} of a world's faults`, () => {
    const reads = new RegExp(`\\bfaults\\??\\.${name}\\b|\\{[^{}=]*\\b${name}\\b[^{}=]*\\} = (?:\\w+\\.)*faults\\b`);
    for (const [path, text] of sources) if (!path.endsWith("flight/faults.ts")) assert.ok(!reads.test(text), path);
  });
}

test("a chance of 1 that every update meets is inescapable, however it is said", () => {
  const paths = (spec: FaultSpec) => inescapableFaults(spec).map(({ path }) => path);
  assert.deepEqual(paths(strongest), [
    ...["beforeDownload", "download", "training", "upload", "crash", "corruptedUpdate"],
    ...["shocks.probability", "swizzle.share"],
  ]);
  assert.deepEqual(paths({ upload: 0.99, shocks: { probability: 1, severity: 0.5 } }), []);
});
