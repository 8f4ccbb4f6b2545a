/** Round policies end to end, against what theory says: server, clients, network and devices, without training. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hours, minutes, seconds } from "../../src/base/units.ts";
import { fedasync, fedbuff } from "../../src/fl/policies/registry.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import type { Law } from "../../src/sim/fleet/laws.ts";
import { mean, type Played, playTiming, standardError } from "../support/play.ts";
import { timingOnly } from "../support/scenarios.ts";

/** Equal devices, messages that take a millisecond, and tasks that take what the law says, in seconds. */
const withTasks = (duration: Law, clients: number, rounds: ScenarioInput["rounds"], world: object = {}) =>
  timingOnly({
    fleet: [{ name: "device", clients, budget: 1, tokensPerSecond: 1_000, uplink: 1e12 }],
    world: { compute: { duration }, ...world },
    rounds,
  });

const roundTimes = ({ rounds }: Played): number[] =>
  rounds.slice(1).map(({ startedAt, closedAt }) => (closedAt - startedAt) / 1_000);

/** Versions between an update's base and the one it counted in, for rounds past the start. */
const stalenesses = ({ rounds, parts, endedIn }: Played): number[] =>
  parts.flatMap(({ outcome, round }, at) =>
    outcome === "counted" && round > rounds.length / 10 ? [endedIn[at]! - round] : [],
  );

const laws: [string, Law][] = [
  ["constant", 60],
  ["exponential", { type: "exponential", mean: 60 }],
  ["half-normal", { type: "half-normal", sd: 60 }],
];

for (const [name, law] of laws) {
  test(`with ${name} tasks, C at work and M to a version, mean staleness is (C − 1) / M`, async () => {
    const [concurrency, buffer] = [20, 5];
    const policy = fedbuff({ concurrency, buffer });
    const played = await playTiming(withTasks(law, 60, { count: 800, cohort: buffer, policy }));
    const found = mean(stalenesses(played));
    // 3,600 stalenesses of standard deviation 2 to 4, correlated over the twenty at work at once.
    assert.ok(Math.abs(found - (concurrency - 1) / buffer) < 0.15, `mean staleness ${found}`);
  });
}

test("FedAsync is FedBuff with a buffer of one: staleness C − 1, and every update a version", async () => {
  const policy = fedasync({ concurrency: 10 });
  const played = await playTiming(
    withTasks({ type: "exponential", mean: 60 }, 40, { count: 1_500, cohort: 1, policy }),
  );
  assert.ok(played.rounds.slice(1).every(({ counted }) => counted === 1));
  assert.ok(Math.abs(mean(stalenesses(played)) - 9) < 0.25, `${mean(stalenesses(played))}`);
});

test("updates arrive at the rate C ÷ E[T]: Little's law", async () => {
  const [concurrency, buffer] = [20, 10];
  const policy = fedbuff({ concurrency, buffer });
  const played = await playTiming(
    withTasks({ type: "exponential", mean: 60 }, 60, { count: 400, cohort: buffer, policy }),
  );
  const last = played.rounds.at(-1)!;
  const perSecond = (buffer * last.round) / (last.closedAt / 1_000);
  // 4,000 arrivals of a Poisson stream: one standard error is 1.6 %.
  assert.ok(Math.abs(perSecond / (concurrency / 60) - 1) < 0.05, `${perSecond} updates a second`);
});

test("over-selection: a round takes as long as the K-th of n exponential tasks", async () => {
  const cohort = 40;
  for (const factor of [1, 1.3, 2]) {
    const rounds = { count: 250, cohort, overSelection: factor, minUpdates: cohort, deadline: hours(2) };
    const times = roundTimes(await playTiming(withTasks({ type: "exponential", mean: 60 }, 800, rounds)));
    let expected = 0;
    for (let n = cohort * factor; n > cohort * (factor - 1) + 0.5; n--) expected += 60 / n;
    // 4 standard errors of the mean; messages add 3 ms.
    assert.ok(Math.abs(mean(times) - expected) < 4 * standardError(times) + 0.01, `${mean(times)} s, not ${expected}`);
  }
});

test("over-selection: the same for Pareto tasks, whose tail it cuts off", async () => {
  // E T_(K:n) = t_m · Γ(n+1) Γ(n−K+1−1/α) ÷ (Γ(n+1−1/α) Γ(n−K+1)), as a product over the K first.
  const [alpha, cohort, invited] = [2, 20, 26];
  let expected = 10;
  for (let n = invited; n > invited - cohort; n--) expected *= n / (n - 1 / alpha);
  const rounds = { count: 400, cohort, overSelection: invited / cohort, minUpdates: cohort, deadline: hours(2) };
  const times = roundTimes(await playTiming(withTasks({ type: "pareto", minimum: 10, alpha }, 500, rounds)));
  assert.ok(Math.abs(mean(times) - expected) < 4 * standardError(times) + 0.01, `${mean(times)} s, not ${expected}`);
});

test("a deadline at a quantile of the task times loses the rest", async () => {
  // Log-normal with median 60 s: a deadline of 60 · exp(σ · 0.8416) keeps 80 %.
  const sigma = 0.6;
  const deadline = seconds(60 * Math.exp(sigma * 0.841621));
  const rounds = { count: 200, cohort: 30, minUpdates: 1, deadline };
  const played = await playTiming(withTasks({ type: "log-normal", median: 60, sigma }, 400, rounds));
  const counted = played.rounds.reduce((sum, row) => sum + row.counted, 0);
  const share = counted / 6_000;
  assert.ok(Math.abs(share - 0.8) < 4 * Math.sqrt((0.8 * 0.2) / 6_000), `${share}`);
  assert.ok(played.rounds.slice(1).every(({ startedAt, closedAt }) => closedAt - startedAt <= deadline));
});

test("enough updates come in as often as the binomial says", async () => {
  // n = 13, K = 10 and 10 % loss: 0.966 of the rounds succeed.
  const rounds = { count: 1_500, cohort: 10, overSelection: 1.3, minUpdates: 10, deadline: minutes(10) };
  const played = await playTiming(withTasks(10, 200, rounds, { faults: { training: 0.1 } }));
  const successes = played.rounds.filter(({ round, aggregated }) => round > 0 && aggregated).length / 1_500;
  assert.ok(Math.abs(successes - 0.966) < 4 * Math.sqrt((0.966 * 0.034) / 1_500), `${successes}`);
});
