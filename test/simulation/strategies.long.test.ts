/** Every strategy that has steps, memory or randomness of its own trains for real: any number of workers, cut anywhere. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
const reproduce = "npx flame run strategies";

const strategies: readonly ScenarioInput["strategy"][] = [
  { type: "fedprox", mu: 0.1 },
  { type: "scaffold" },
  { type: "scaffold", control: "gradient" },
  { type: "fednova", momentum: 0.9, optimizer: "sgd" },
  { type: "qffl", q: 1 },
  { type: "fedvra", aRule: "heterogeneity" },
  { type: "ewwa" },
  { type: "ccfao" },
  { type: "otaffl", shadowing: 4, dropAfterScheduling: 0.1 },
  { type: "otaffl", weightRule: "mgda" },
  { type: "hfedmoe" },
  { type: "hfedmoe", budgets: { 1: 0.2 }, rankBy: "importance", routerWeights: "row", participation: "usage" },
  { type: "fedmoe", warmUp: 1, patience: 1, validation: 0.4 },
  { type: "fedmoe", warmUp: 0, patience: 1, weighting: "tokens", trainRouters: false, balance: 0 },
  { type: "flame", flood: {}, compress: { keep: 0.2, levels: 15 }, clipNorm: 1 },
];

for (const strategy of strategies) {
  test(`${JSON.stringify(strategy)}: two workers, or a resumed run, leave the bytes of one`, async () => {
    const scenario = training(model, {
      strategy,
      rounds: { count: 3, cohort: 4, deadline: 60_000, minUpdates: 2 },
      training: { batchSize: 8, learningRate: 1e-2 },
      checkpoints: { every: 1, keep: 9 },
    });
    const files = ["events.jsonl", "metrics.jsonl", "participations.jsonl", "adapter/adapter_model.safetensors"];
    const at = (name: string) => join(folder, `${strategies.indexOf(strategy)}-${name}`);
    const { diagnostics } = await run(scenario, { out: at("one"), reproduce, workers: 1 });
    await run(scenario, { out: at("two"), reproduce, workers: 2 });
    assertSameRun(at("two"), at("one"), "two workers", files);
    const signal = interruptAfter(Math.floor(0.6 * diagnostics.events!));
    const { state } = await run(scenario, { out: at("cut"), reproduce, workers: 1, signal });
    assert.equal(state, "interrupted");
    await resume(await loadRun(at("cut")), { reproduce, workers: 2 });
    assertSameRun(at("cut"), at("one"), "resumed", files);
  });
}
