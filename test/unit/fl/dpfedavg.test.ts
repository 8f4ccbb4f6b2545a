/** Privacy of clients: what one of them can change is bounded, and the noise on the sum is what is accounted for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, round as roundOf } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { fedbuff } from "../../../src/fl/policies/registry.ts";
import { oort } from "../../../src/fl/samplers/registry.ts";
import { accountant } from "../../../src/fl/strategies/private/accountant.ts";
import { dpfedavg } from "../../../src/fl/strategies/private/dpfedavg.ts";
import { fedavg } from "../../../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../../../src/fl/strategy.ts";
import { run } from "../../../src/run/run.ts";
import type { ScenarioInput } from "../../../src/scenario/define.ts";
import { close } from "../../support/method-goldens.ts";
import { aggregate, plainLayout, serverOf, settingOf, updateOf, workHere } from "../../support/quadratic.ts";
import { timingOnly } from "../../support/scenarios.ts";
import { playTable, tabular } from "../../support/tabular-run.ts";

const width = 40;
const zeros = new Float32Array(width);
const setting = settingOf(plainLayout(width), { clients: 8 });
const updates = Array.from({ length: 4 }, (_, client) =>
  updateOf(
    zeros,
    zeros.map((_, i) => Math.sin(1 + i * (client + 1))),
    { client: clientId(client), examples: 10 * (client + 1) },
  ),
);
const norm = (vector: ArrayLike<number>): number => Math.hypot(...Array.from(vector));
const after = async (strategy: Strategy, of = updates, at = setting) =>
  (await aggregate(strategy, serverOf(strategy, zeros, at), of, at)).parameters;

test("the accountant gives the epsilons that were worked out by other means", () => {
  const cases = [
    [0.01, 1.1, 1_000, 1.7253],
    [0.1, 1, 100, 7.9729],
    [1, 5, 10, 2.8141],
  ] as const;
  // Four decimals are given.
  for (const [q, z, rounds, epsilon] of cases) close([accountant(q, z)(rounds, 1e-5)], epsilon, 5e-5);
  const at = accountant(0.1, 1);
  assert.ok(at(10, 1e-5) < at(20, 1e-5), "it grows with rounds");
  assert.ok(at(10, 1e-5) < accountant(0.2, 1)(10, 1e-5), "and with who takes part");
  assert.ok(at(10, 1e-5) > accountant(0.1, 2)(10, 1e-5), "and falls with noise");
  assert.equal(accountant(0.01, 10)(1, 0.5), 0);
  assert.throws(() => dpfedavg({ noise: 1e-155 }), /strategy.noise is 1e-155, expected 0 for none, or at least 0.01/);
});

test("a client that is in an aggregation three times moves the sum by no more than C, and C by half a bit", async () => {
  const strategy = dpfedavg({ sampled: 0.5, noise: 0, bound: 0.3, quantile: 0.5 });
  const thrice = [updates[0]!, updates[0]!, updates[0]!];
  close([norm((await after(strategy, thrice)).map((value) => 4 * value))], 0.3, 1e-6);
  const boundAfter = async (of: typeof updates) => {
    const server = await aggregate(strategy, serverOf(strategy, zeros, setting), of, setting);
    return strategy.report!(server, server, setting).bound!;
  };
  // An update beyond C takes half a bit of the four that are expected: b̄ = ½ − ½ ÷ 4.
  close([await boundAfter(thrice)], 0.3 * Math.exp(0.2 / 8));
  close([await boundAfter([updateOf(zeros, zeros)])], 0.3 * Math.exp(-0.2 / 8));
});

test("one client moves the sum by no more than C, and another in its place by no more than 2C", async () => {
  const strategy = dpfedavg({ sampled: 0.5, noise: 0, bound: 0.3 });
  // What is moved times q·N is the sum.
  const sum = async (of: typeof updates) => (await after(strategy, of)).map((value) => 4 * value);
  const [all, without] = [await sum(updates), await sum(updates.slice(1))];
  const own = all.map((value, i) => value - without[i]!);
  close([norm(own)], 0.3, 1e-6);
  const direction = updates[0]!.values;
  close(
    own,
    Array.from(direction, (value) => (0.3 * value) / norm(direction)),
  );
  const turned = await sum([{ ...updates[0]!, values: direction.map((value) => -value) }, ...updates.slice(1)]);
  assert.ok(norm(all.map((value, i) => value - turned[i]!)) <= 0.6 + 1e-6);
});

test("without noise or a bound that matters it is FedAvg over a fixed number of clients", async () => {
  const strategy = dpfedavg({ sampled: 0.5, noise: 0, bound: 1e6 });
  close(await after(strategy), [...(await after(fedavg({ weighting: "uniform" })))]);
  // Two of four are missing, and count as unchanged.
  const half = await after(fedavg({ weighting: "uniform" }), updates.slice(0, 2));
  close(
    await after(strategy, updates.slice(0, 2)),
    Array.from(half, (value) => value / 2),
  );
  const weighed = dpfedavg({ sampled: 0.5, noise: 0, bound: 1e6, fullWeight: 20 });
  const examples = settingOf(plainLayout(width), { clients: 8, examples: (client) => 10 * (client + 1) });
  // Weights 1/2 of the first and 1 of the others; of all eight clients 7.5, of which half takes part.
  const expected = zeros.map((_, i) =>
    updates.reduce((sum, { values }, k) => sum + (k === 0 ? 0.5 : 1) * values[i]!, 0),
  );
  close(
    await after(weighed, updates, examples),
    Array.from(expected, (value) => value / 3.75),
  );
});

test("the noise has the deviation that is asked for, and what adapts C takes its share", async () => {
  const deviationOf = async (strategy: Strategy) => {
    const squares: number[] = [];
    for (let round = 1; round <= 100; round++) {
      const server = serverOf(strategy, zeros, setting);
      const sum = strategy.begin(server, setting);
      const at = {
        round: roundOf(round),
        draws: (purpose: string) => new Rng(round).at(purpose).at(0),
        work: workHere,
      };
      strategy.fold(sum, updateOf(zeros, zeros), setting, at);
      const { parameters } = (await strategy.finish(sum, server, setting, at)) as ServerState;
      for (const value of parameters) squares.push(value * value);
    }
    return Math.sqrt(squares.reduce((sum, square) => sum + square, 0) / squares.length);
  };
  // Of 4,000 numbers; four standard errors of a deviation.
  const within = 4 / Math.sqrt(2 * 4_000);
  close([(await deviationOf(dpfedavg({ sampled: 0.5, noise: 2, bound: 0.3 }))) / ((2 * 0.3) / 4)], 1, within);
  const adaptive = dpfedavg({ sampled: 0.5, noise: 1, bound: 0.3, quantile: 0.5, bitNoise: 2 });
  close([(await deviationOf(adaptive)) / (((1 - 1 / 16) ** -0.5 * 0.3) / 4)], 1, within);
});

test("C settles where the wanted share of updates is within it", async () => {
  // Bits without noise, for a limit that can be told.
  const strategy = dpfedavg({ sampled: 0.5, noise: 0, bound: 100, quantile: 0.5 });
  let server = serverOf(strategy, zeros, setting);
  const scaled = [1, 2, 3, 4].map((factor, client) =>
    updateOf(
      zeros,
      zeros.map((_, i) => (i === 0 ? factor : 0)),
      { client: clientId(client) },
    ),
  );
  for (let round = 1; round <= 200; round++) server = await aggregate(strategy, server, scaled, setting, round);
  const { bound, epsilon } = strategy.report!(server, server, setting);
  assert.ok(bound! >= 2 && bound! <= 3, `C is ${bound}, the median norm between 2 and 3`);
  assert.equal(epsilon, undefined, "without noise there is no privacy to account for");
});

test("bits need more noise than half of what the deltas have", () => {
  const strategy = dpfedavg({ sampled: 0.5, noise: 1, quantile: 0.5, bitNoise: 0.4 });
  assert.deepEqual(strategy.problems!(setting), [
    { path: "bitNoise", text: "is 0.4, expected more than 0.5, half of strategy.noise" },
  ]);
});

test("with Poisson sampling each client comes with probability q, whoever else is there, and at most as many as a round has", () => {
  const { sampler } = dpfedavg({ sampled: 0.25, sampling: "poisson" });
  const at = settingOf(plainLayout(1), { clients: 400 });
  const everybody = Array.from({ length: 400 }, (_, client) => clientId(client));
  const chosen = (round: number, eligible = everybody, count = 400) =>
    sampler!
      .select(
        { round: roundOf(round), eligible, count, memory: null, server: serverOf(fedavg(), [0], at) },
        at,
        new Rng(round).at("poisson").at(0),
      )
      .clients.map(({ client }) => client);
  const sizes = Array.from({ length: 50 }, (_, round) => chosen(1 + round).length);
  // Four standard errors of the mean of 50 binomials, whose sizes differ.
  const mean = sizes.reduce((sum, size) => sum + size, 0) / 50;
  assert.ok(Math.abs(mean - 100) < 4 * Math.sqrt(75 / 50), `mean ${mean}`);
  assert.ok(new Set(sizes).size > 5);
  const odd = everybody.filter((client) => client % 2 === 1);
  assert.deepEqual(
    chosen(3, odd),
    chosen(3).filter((client) => client % 2 === 1),
  );
  assert.equal(chosen(3, everybody, 10).length, 10);
});

test("q is refused where rounds, sampler or policy say otherwise", async () => {
  const isRefused = (options: object, rounds: Omit<ScenarioInput["rounds"], "count">, message: RegExp) =>
    assert.rejects(run(timingOnly({ strategy: dpfedavg(options), rounds: { ...rounds, count: 1 } }), { out: null }), {
      name: "ScenarioError",
      message,
    });
  // Of 24 clients.
  const less = /strategy\.sampled is 0\.3, expected at least 0\.33\d+: a round invites 8 of 24 clients$/;
  await isRefused({ sampled: 0.3 }, { cohort: 8 }, less);
  await isRefused(
    { sampled: 0.34 },
    { cohort: 8, overSelection: 1.5, deadline: 1e6 },
    /expected at least 0\.5: a round invites 12/,
  );
  await isRefused({ sampled: 0.5 }, { cohort: 8, sampler: oort() }, /is 0\.5, expected 1 with the sampler oort, which/);
  const policy = fedbuff({ concurrency: 2, buffer: 2 });
  await isRefused(
    { sampled: 0.5 },
    { cohort: 2, policy },
    /is 0\.5, expected 1 where clients work on when a round ends/,
  );
  const resting = { cohort: 8, minimumGap: 2 };
  for (const sampling of [{ sampled: 0.34 }, { sampled: 0.25, sampling: "poisson" }]) {
    await isRefused(sampling, resting, /sampled is 0\.\d+, expected 1 with rounds\.minimumGap: who sits out/);
  }
  const few = /sampled is 0\.5, by which 12 of 24 clients are drawn on average; a round invites 8, expected/;
  await isRefused({ sampled: 0.5, sampling: "poisson" }, { cohort: 8 }, few);
  const fitting = [{ sampled: 8 / 24 }, { sampled: 0.5 }, {}, { sampled: 0.25, sampling: "poisson" }] as const;
  for (const options of fitting) {
    const rounds = { count: 1, cohort: 8, deadline: 60_000 };
    await run(timingOnly({ strategy: dpfedavg(options), rounds }), { out: null, workers: 1 });
  }
});

test("rounds in which nobody is counted have their noise and their place in the account", async () => {
  const strategy = dpfedavg({ sampled: 0.05, sampling: "poisson", noise: 2, quantile: 0.5, bitNoise: 5 });
  const { rows } = await playTable(tabular({ strategy, rounds: { count: 6, cohort: 4 } }));
  const empty = rows.slice(1).filter(({ counted }) => counted === 0);
  assert.ok(empty.length >= 3 && empty.every(({ aggregated }) => aggregated));
  for (const [at, { method, evaluations }] of rows.slice(1).entries()) {
    const before = rows[at]!;
    assert.notEqual(evaluations[0]!.loss, before.evaluations[0]!.loss, "the model moved");
    assert.notEqual(method!.bound, before.method?.bound ?? 0.1, "and so did C");
    close([method!.epsilon!], accountant(0.05, 2)(at + 1, 1e-5), 1e-12);
  }
  // A round of one update, where others would want two, has it in its sum.
  const few = dpfedavg({ noise: 0, bound: 1e6 });
  const dropout = [{ name: "clinic", clients: 4, budget: 1, tokensPerSecond: 50, uplink: 1e5, dropout: 0.7 }];
  const rounds = { count: 6, cohort: 4, deadline: 60_000, minUpdates: 3 };
  const counted = await playTable(tabular({ strategy: few, fleet: dropout, rounds }));
  const sizesOf = (of: typeof counted) => of.rows.map((row) => row.counted);
  assert.ok(sizesOf(counted).some((size) => size > 0 && size < 3));
  for (const [at, { counted: size, evaluations }] of counted.rows.slice(1).entries()) {
    assert.equal(evaluations[0]!.loss !== counted.rows[at]!.evaluations[0]!.loss, size > 0, `round ${at + 1}`);
  }
  const timed = await playTable(tabular({ strategy: few, fleet: dropout, rounds, timingOnly: true }));
  assert.deepEqual(sizesOf(timed), sizesOf(counted));
  assert.ok(sizesOf(timed).slice(1).includes(0) && timed.rows.slice(1).every(({ aggregated }) => aggregated));
  // Without noise nothing comes of nothing; half of nobody was within C.
  const silent = dpfedavg({ sampled: 0.5, noise: 0, bound: 0.3, quantile: 0.5 });
  const before = serverOf(silent, updates[0]!.values, setting);
  const after = await aggregate(silent, before, [], setting);
  assert.deepEqual(after.parameters, before.parameters);
  close([silent.report!(after, before, setting).bound!], 0.3, 1e-12);
});

test("Poisson sampling asks for rounds that end", async () => {
  const strategy = dpfedavg({ sampled: 0.5, sampling: "poisson" });
  const policy = fedbuff({ concurrency: 2, buffer: 2 });
  const scenario = timingOnly({ strategy, rounds: { count: 1, cohort: 2, policy } });
  await assert.rejects(run(scenario, { out: null, workers: 1 }), {
    name: "ScenarioError",
    message:
      /strategy is dpfedavg.*, which chooses fewer clients than it is asked for; expected a policy of rounds that end/,
  });
});
