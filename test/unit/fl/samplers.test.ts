import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientId, clientId } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { explorationShare, type OortState, paced, type ScoreContext, score } from "../../../src/fl/samplers/oort.ts";
import { oort, powerOfChoice, roundRobin, tifl, uniform, weighted } from "../../../src/fl/samplers/registry.ts";
import { adaptiveProbabilities, type TiflState } from "../../../src/fl/samplers/tifl.ts";
import { candidatesOf, count, makeFleet, makeHistory } from "../../support/fl-fleet.ts";

const draws = (item: number) => new Rng(11).at("fl-samplers").at(item);

test("uniform sampling costs a cohort, not a fleet, and a scan when few are eligible", () => {
  const fleet = makeFleet(100_000);
  let asked = 0;
  const isEligible = (client: ClientId) => {
    asked++;
    return client % 2 === 0;
  };
  assert.equal(uniform().select(candidatesOf(fleet, { isEligible }), 100, draws(0)).length, 100);
  // Half are eligible: 200 questions on average, with a standard deviation of 14.
  assert.ok(asked < 300, `${asked} questions`);
  const rare = (client: ClientId) => client % 50_000 === 7;
  assert.deepEqual(uniform().select(candidatesOf(fleet, { isEligible: rare }), 10, draws(1)), [7, 50_007]);
});

test("uniform sampling favours nobody, whether it rejects or scans", () => {
  const fleet = makeFleet(10);
  for (const eligible of [10, 4]) {
    const times = new Array<number>(10).fill(0);
    for (let trial = 0; trial < 6_000; trial++) {
      const isEligible = (client: ClientId) => client < eligible;
      for (const client of uniform().select(candidatesOf(fleet, { isEligible }), 3, draws(trial))) times[client]!++;
    }
    // Binomial with p = 3/eligible: five standard deviations are below 200.
    const expected = (6_000 * 3) / eligible;
    for (const seen of times.slice(0, eligible)) assert.ok(Math.abs(seen - expected) < 200, `${seen}`);
  }
});

test("weighted sampling takes a client in proportion to its examples", () => {
  const fleet = makeFleet(3, { examples: (row) => [1, 3, 0][row]! });
  let heavy = 0;
  for (let trial = 0; trial < 4_000; trial++) {
    const [chosen] = weighted().select(candidatesOf(fleet), 1, draws(trial));
    assert.notEqual(chosen, 2);
    if (chosen === 1) heavy++;
  }
  // 3,000 expected, standard deviation 27.
  assert.ok(Math.abs(heavy - 3_000) < 140, `${heavy}`);
});

test("weighted sampling without replacement draws the next in proportion to what is left", () => {
  const fleet = makeFleet(3, { examples: (row) => [1, 2, 3][row]! });
  let lightest = 0;
  for (let trial = 0; trial < 6_000; trial++) {
    if (weighted().select(candidatesOf(fleet), 2, draws(trial))[0] === 0) lightest++;
  }
  // First, or second after either of the others: 1/6 + 2/6·1/4 + 3/6·1/3 = 5/12; standard deviation 38.
  assert.ok(Math.abs(lightest - 2_500) < 190, `${lightest}`);
});

test("round robin invites whoever was invited least", () => {
  const history = makeHistory(6);
  history.timesInvited.set([2, 1, 1, 0, 1, 3]);
  assert.deepEqual(roundRobin().select(candidatesOf(makeFleet(6), { history }), 3, draws(0)), [1, 2, 3]);
});

test("power of choice takes the highest losses among its candidates, and the unknown first", () => {
  const history = makeHistory(5);
  history.loss.set([1, 4, Number.NaN, 2, 3]);
  const select = (candidates: number) =>
    powerOfChoice({ candidates }).select(candidatesOf(makeFleet(5), { history }), 2, draws(0));
  assert.deepEqual(select(5), [1, 2]);
  assert.equal(select(1).length, 2);
});

test("exploration starts at 0.9, fades by 2 % a round and stops at 0.3", () => {
  const spec = oort.schema.parse({ type: "oort" });
  assert.equal(explorationShare(spec, 1), 0.9);
  assert.ok(Math.abs(explorationShare(spec, 11) - 0.9 * 0.98 ** 10) < 1e-12);
  assert.ok(explorationShare(spec, 55) > 0.3);
  assert.equal(explorationShare(spec, 56), 0.3);
});

const context: ScoreContext = {
  round: 20,
  least: 10,
  range: 90,
  clip: 80,
  preferredDuration: 1_000,
  durationPenalty: 2,
};

test("an Oort score grows with utility and time since last use, and falls with slowness", () => {
  const base = { utility: 50, lastCounted: 10, duration: 1_000 };
  const scored = (change: Partial<typeof base>) => score({ ...base, ...change }, context);
  assert.ok(scored({ utility: 60 }) > scored({}));
  assert.equal(scored({ utility: 90 }), scored({ utility: 80 }));
  assert.ok(scored({ lastCounted: 5 }) > scored({}));
  assert.equal(scored({ duration: 500 }), scored({}));
  assert.ok(Math.abs(scored({ duration: 2_000 }) / scored({}) - 1 / 4) < 1e-12);
  // (50 − 10)/90 + √(0.1·ln 20 / 10)
  assert.ok(Math.abs(scored({}) - (40 / 90 + Math.sqrt(Math.log(20) / 100))) < 1e-12);
});

test("without a duration penalty Oort does not care who is slow", () => {
  const fleet = makeFleet(40, { tokensPerSecond: (row) => (row % 2 === 0 ? 1_000 : 1) });
  const history = makeHistory(40);
  for (let row = 0; row < 20; row++) count(history, clientId(row), 1, row % 2 === 0 ? 1_000 : 1e6, 1);
  const slow = (durationPenalty: number) => {
    let seen = 0;
    for (let trial = 0; trial < 200; trial++) {
      const chosen = oort({ durationPenalty }).select(candidatesOf(fleet, { history, inRound: 30 }), 8, draws(trial));
      seen += chosen.filter((client) => client % 2 === 1).length;
    }
    return seen / 1_600;
  };
  // Half of both groups is slow. 1,600 places have a standard deviation of 1.3 %.
  assert.ok(Math.abs(slow(0) - 0.5) < 0.07, `${slow(0)}`);
  assert.ok(slow(2) < 0.05, `${slow(2)}`);
});

test("Oort fills its slots when too few clients are known or unknown", () => {
  const fleet = makeFleet(12);
  const history = makeHistory(12);
  count(history, clientId(4), 1, 100, 1);
  const select = () => oort().select(candidatesOf(fleet, { history, inRound: 100 }), 10, draws(0));
  assert.equal(select().length, 10);
  for (let row = 0; row < 12; row++) if (row !== 4) count(history, clientId(row), 1, 100, 1);
  assert.equal(select().length, 10);
});

test("the pacer lets slower clients in when utility is flat, and shuts them out when it leaps", () => {
  const spec = oort.schema.parse({ type: "oort", paceWindow: 3 });
  const percentileAfter = (loss: (round: number) => number) => {
    const fleet = makeFleet(10);
    const history = makeHistory(10);
    let state: OortState | undefined;
    for (let inRound = 1; inRound <= 9; inRound++) {
      const candidates = candidatesOf<OortState>(fleet, { history, inRound, state });
      state = { ...paced(spec, candidates), exploited: [clientId(1), clientId(2)] };
      for (const client of state.exploited) count(history, client, inRound, 100, loss(inRound));
    }
    return state!.percentile;
  };
  // The first window holds the empty first round, so flat utility is seen as flat from round nine on.
  assert.equal(
    percentileAfter(() => 2),
    35,
  );
  assert.equal(
    percentileAfter((round) => 50 ** round),
    20,
  );
  assert.equal(
    percentileAfter((round) => 1.5 ** round),
    30,
  );
});

test("clients counted too often rest", () => {
  const history = makeHistory(10);
  for (let row = 0; row < 10; row++) count(history, clientId(row), 1, 100, 1);
  for (const row of [2, 5, 7]) history.timesCounted[row] = 9;
  const chosen = oort({ maxUses: 3 }).select(candidatesOf(makeFleet(10), { history, inRound: 5 }), 10, draws(0));
  assert.deepEqual(chosen, [0, 1, 3, 4, 6, 8, 9]);
});

test("tier probabilities fall from the worst tier to the best and sum to one", () => {
  assert.deepEqual(adaptiveProbabilities([0.5, 2, 1]), [1 / 6, 3 / 6, 2 / 6]);
  for (let n = 1; n < 9; n++) {
    const sum = adaptiveProbabilities(Array.from({ length: n }, (_, tier) => tier)).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - 1) < 1e-12);
  }
});

/** Ten clients, one per duration: tiers of two. */
const graded = makeFleet(10, { tokensPerSecond: (row) => 1_000 / (row + 1) });

test("a TiFL round takes its clients from one tier of similar speed", () => {
  const tiers = new Set<string>();
  for (let trial = 0; trial < 100; trial++) {
    tiers.add(tifl({ tiers: 5 }).select(candidatesOf(graded), 2, draws(trial)).join());
  }
  assert.deepEqual([...tiers].sort(), ["0,1", "2,3", "4,5", "6,7", "8,9"]);
});

test("a tier takes all it has when more are wanted, and passes its turn on when all are away", () => {
  const isEligible = (client: ClientId) => client >= 8;
  for (let trial = 0; trial < 20; trial++) {
    assert.deepEqual(tifl().select(candidatesOf(graded, { isEligible }), 4, draws(trial)), [8, 9]);
  }
});

test("credits bound how often a tier is chosen, slow tiers have fewer, and all are refilled in the end", () => {
  const sampler = tifl({ tiers: 2, credits: 4, adaptive: false, interval: 1_000 });
  let state: TiflState | undefined;
  const chosen = [0, 0];
  for (let inRound = 1; inRound <= 6; inRound++) {
    const candidates = candidatesOf<TiflState>(graded, { inRound, state });
    const cohort = sampler.select(candidates, 2, draws(inRound));
    chosen[cohort[0]! < 5 ? 0 : 1]!++;
    state = sampler.nextState!(candidates, cohort);
  }
  assert.deepEqual(chosen, [4, 2]);
  assert.deepEqual(state!.credits, [4, 2]);
});

test("an adaptive TiFL turns to the tier with the highest loss once the last one stops improving", () => {
  const sampler = tifl({ tiers: 2, interval: 1 });
  const history = makeHistory(10);
  for (let row = 0; row < 10; row++) count(history, clientId(row), 1, row + 1, row < 5 ? 1 : 3);
  const first = candidatesOf<TiflState>(graded, { history, inRound: 1 });
  const state = sampler.nextState!(first, sampler.select(first, 2, draws(0)));
  assert.deepEqual(state.weights, [0.5, 0.5]);
  const second = candidatesOf<TiflState>(graded, { history, inRound: 2, state });
  assert.deepEqual(sampler.nextState!(second, []).weights, [1 / 3, 2 / 3]);
});

test("clients slower than the cap are in no tier", () => {
  const seen = new Set<number>();
  for (let trial = 0; trial < 100; trial++) {
    for (const client of tifl({ tiers: 2, latencyCap: 6_000 }).select(candidatesOf(graded), 3, draws(trial)))
      seen.add(client);
  }
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5],
  );
});
