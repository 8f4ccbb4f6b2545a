/** A dense model cut into experts by a federation, from end to end, with the model that comes with the program. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { shards } from "../../src/data/partition.ts";
import { instructions } from "../../src/data/source.ts";
import { readMe } from "../../src/fl/strategies/registry.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario } from "../../src/scenario/define.ts";

const scenarioWith = ({ rounds = 5, share = 0.5 } = {}) =>
  defineScenario({
    name: "refactor",
    seed: 3,
    task: { type: "refactor", experts: 8, share },
    data: { source: instructions({ examples: 1_200 }), partition: shards({ categories: 2 }), maxTokens: 64 },
    fleet: [{ name: "desktop", clients: 12, budget: 8, tokensPerSecond: 2_000, uplink: 1e6 }],
    rounds: { count: rounds, cohort: 12, deadline: 600_000 },
    training: { maxSteps: 4, batchSize: 16, learningRate: 3e-3 },
    strategy: readMe(),
    evaluateAt: [8, 1],
    evaluateEvery: rounds,
    evaluationExamples: 128,
  });

const lossAt = ({ evaluations }: RoundMetrics, budget: number): number =>
  evaluations.find((evaluation) => evaluation.budget === budget)!.loss;

test("the taught router lies between the dense model and one expert for all, and ahead of an untaught one", async () => {
  // Experts that keep all channels are the dense model, whichever is chosen.
  const whole = (await run(scenarioWith({ rounds: 1, share: 1 }), { out: null, workers: 1 })).rows.at(-1)!;
  assert.ok(Math.abs(lossAt(whole, 8) - lossAt(whole, 1)) < 1e-5);
  const { rows } = await run(scenarioWith(), { out: null, workers: 1 });
  const [untaught, taught] = [rows[0]!, rows.at(-1)!];
  assert.ok(lossAt(whole, 8) < lossAt(taught, 8));
  assert.ok(lossAt(taught, 8) < lossAt(taught, 1) - 0.05, "one expert for all domains");
  assert.ok(lossAt(taught, 8) < lossAt(untaught, 8) - 0.1, "a router that chooses at random");
  const { agreed, tokens } = taught.evaluations[0]!.more!;
  // One in eight by chance.
  assert.ok(agreed! / tokens! > 0.4, `the router agrees on ${agreed! / tokens!} of held-out tokens`);
});
