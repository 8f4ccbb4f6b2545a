/** Samplers that watch how fast clients are and how much they lose, in runs that train on digits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluationBatches } from "../../src/data/batches.ts";
import { digits, loadImages } from "../../src/data/images/source.ts";
import { byCategory, iid } from "../../src/data/partition.ts";
import { oort, tifl, uniform } from "../../src/fl/samplers/registry.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario, type ScenarioInput } from "../../src/scenario/define.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";
import { mean } from "../support/play.ts";
import { onThisThread } from "../support/tabular-run.ts";

const play = (input: Omit<ScenarioInput, "name" | "task" | "strategy">, pool = onThisThread) =>
  run(
    defineScenario({
      ...input,
      name: "sampled",
      task: { type: "vision", network: { type: "mlp", hidden: [32] } },
      strategy: { type: "fedavg" },
      evaluateAt: [2],
    }),
    { pool, out: null },
  );
const device = { budget: 2, uplink: 1e6 };

test("Oort: where fast clients have useful data as well, accuracy is there in less time than with clients by chance", async (t) => {
  const timeTo = async (sampler: ReturnType<typeof uniform>, seed: number) => {
    const { rows } = await play({
      seed,
      data: { source: digits(), partition: iid(), heldOut: 360 },
      fleet: [
        { name: "fast", clients: 10, tokensPerSecond: 100, ...device },
        { name: "slow", clients: 10, tokensPerSecond: 10, ...device },
      ],
      rounds: { count: 8, cohort: 4, sampler },
      training: { batchSize: 16, learningRate: 1e-2 },
      evaluationExamples: 180,
    });
    return rows.find(({ evaluations }) => evaluations[0]!.accuracy >= 0.75)!.closedAt;
  };
  for (const seed of [1, 2, 3]) {
    const [guided, byChance] = [await timeTo(oort(), seed), await timeTo(uniform(), seed)];
    t.diagnostic(`seed ${seed}: 75 % after ${guided / 1_000} s, by chance after ${byChance / 1_000} s`);
    assert.ok(guided < 0.8 * byChance);
  }
});

test("TiFL: where each tier has classes of its own, choosing those that lose most lifts the one that is worst off", async (t) => {
  const tiers = [0, 1, 2, 3, 4];
  const images = loadImages(digits(), { seed: 1 });
  const worstAfter = async (adaptive: boolean, seed: number) => {
    let prepared!: Prepared;
    const { adapter } = await play(
      {
        seed,
        data: { source: digits(), partition: byCategory(), heldOut: 360 },
        fleet: tiers.map((tier) => ({
          name: `tier ${tier}`,
          clients: 2,
          tokensPerSecond: 200 / (1 + tier),
          ...device,
        })),
        rounds: { count: 100, cohort: 2, sampler: tifl({ tiers: 5, adaptive, interval: 2 }) },
        // With ε = 1 a step is about the gradient: of one class alone, signs of gradients say nothing.
        training: { batchSize: 32, maxSteps: 1, learningRate: 0.5, beta1: 0, beta2: 0, epsilon: 1, clipNorm: null },
        evaluateEvery: 100,
        evaluationExamples: 1,
      },
      (own) => {
        prepared = own;
        return onThisThread(own);
      },
    );
    const { task } = prepared.task;
    const engine = await createEngine({ task: prepared.training!.spec });
    const model = { parameters: adapter!, personal: new Float32Array(0), variant: task.budget.variant(2) };
    const shares: number[] = [];
    for (const tier of tiers) {
      const own = Uint32Array.from(images.category.keys()).filter((n) => Math.floor(images.category[n]! / 2) === tier);
      const batches = evaluationBatches(images, own, { batchSize: 64, length: 1 });
      const { correct, targets } = await engine.evaluate({ models: [model], batches });
      shares.push(correct / targets);
    }
    engine.dispose();
    return Math.min(...shares);
  };
  const worst = { adaptive: [] as number[], plain: [] as number[] };
  for (const seed of [1, 2, 3, 4]) {
    worst.adaptive.push(await worstAfter(true, seed));
    worst.plain.push(await worstAfter(false, seed));
  }
  const shown = (values: readonly number[]) => values.map((value) => value.toFixed(2)).join(" ");
  t.diagnostic(`worst tier: adaptive ${shown(worst.adaptive)}, all alike ${shown(worst.plain)}`);
  assert.ok(mean(worst.adaptive) > mean(worst.plain) + 0.05);
});
