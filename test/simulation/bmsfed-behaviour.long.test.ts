/** What BMSFed does for a view that says little beside one that says much: halves of digits under unequal noise. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digits } from "../../src/data/images/source.ts";
import { iid } from "../../src/data/partition.ts";
import { bmsfed } from "../../src/fl/strategies/registry.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario } from "../../src/scenario/define.ts";
import { onThisThread } from "../support/tabular-run.ts";

/** Accuracy of the clear view, the noisy one and both; ρ_k of the untrained model; the share of parts that train v alone. */
async function played(seed: number, options: Parameters<typeof bmsfed>[0]) {
  const strategy = bmsfed(options);
  const untrained: number[] = [];
  let [alone, all] = [0, 0];
  const watched: typeof strategy = {
    ...strategy,
    name: "watched",
    spec: { type: "watched" },
    fold(sum, update, setting, at) {
      if (update.round === 0) untrained.push(update.sent.rho as number);
      else {
        all++;
        if (update.plan.kind.mode === 2) alone++;
      }
      return strategy.fold(sum, update, setting, at);
    },
  };
  const scenario = defineScenario({
    name: "halves",
    seed,
    task: { type: "two-view", views: { type: "halves", noise: [0.3, 1] } },
    data: { source: digits(), partition: iid(), heldOut: 360 },
    fleet: [{ name: "both", clients: 12, budget: 3, tokensPerSecond: 50, uplink: 1e6 }],
    rounds: { count: 20, cohort: 4 },
    training: { epochs: 2, batchSize: 16, learningRate: 3e-3 },
    strategy: watched,
    evaluateEvery: 20,
    evaluateAt: [1, 2, 3],
    evaluationExamples: 360,
  });
  const { rows } = await run(scenario, { out: null, pool: onThisThread });
  const at = (budget: number) => rows.at(-1)!.evaluations!.find((one) => one.budget === budget)!.accuracy;
  return { clear: at(1), noisy: at(2), untrained: mean(untrained), alone: alone / all };
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

test("choosing who leans too far lifts the weak view and costs the strong one nothing; a threshold of 1 starves it", async (t) => {
  const runs = { plain: [], chosen: [], all: [] } as Record<string, Awaited<ReturnType<typeof played>>[]>;
  for (const seed of [1, 2]) {
    runs.plain!.push(await played(seed, { alpha: 0, threshold: 10 }));
    runs.chosen!.push(await played(seed, { threshold: 1.5 }));
    runs.all!.push(await played(seed, { threshold: 1 }));
  }
  const { plain, chosen, all } = runs as Record<"plain" | "chosen" | "all", (typeof runs)[string]>;
  const of = (some: typeof plain, view: "clear" | "noisy") => mean(some.map((one) => one[view]));
  for (const some of [plain, chosen, all])
    t.diagnostic(`clear ${of(some, "clear").toFixed(3)}, noisy ${of(some, "noisy").toFixed(3)}`);
  for (const [at, one] of chosen.entries()) assert.ok(one.noisy > plain[at]!.noisy, `seed ${at + 1}`);
  assert.ok(of(chosen, "clear") > of(plain, "clear") - 0.03);
  // Chance features of the clear half tell more classes apart than those of the noisy one: ρ is above 1 before anything is
  // learned, and says nothing of bias. With thr = 1 the clear encoder is then hardly ever trained.
  for (const one of all) {
    assert.ok(one.untrained > 1.3, `ρ of the untrained model: ${one.untrained}`);
    assert.ok(one.alone > 0.85, `alone: ${one.alone}`);
  }
  assert.ok(of(all, "clear") < of(plain, "clear") - 0.15);
});
