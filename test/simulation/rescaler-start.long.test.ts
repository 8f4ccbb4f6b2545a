/** Rescalers that start from the base model's own router. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { embeddedScenario } from "../support/embedded-scenario.ts";
import { temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";

const scenario = () => embeddedScenario({ rescaler: { learn: false, init: "mass" }, evaluateAt: [8, 2, 1] });

test("a fixed rescaler from router masses lies between 1 and K/k, and is the same after an interruption", async (t) => {
  const folder = temporaryFolder(t);
  const [straight, resumed] = [join(folder, "straight"), join(folder, "resumed")];
  await run(scenario(), { out: straight, workers: 1 });
  const { rescalers } = JSON.parse(readFileSync(join(straight, "adapter/rescalers.json"), "utf8")) as {
    rescalers: { topK: number; factors: number[] }[];
  };
  for (const { topK: budget, factors } of rescalers) {
    // p is sorted, so the first k of K experts hold at least k/K of it.
    for (const s of factors) assert.ok(budget === 8 ? s === 1 : s > 1 && s < 8 / budget, `s is ${s} at k = ${budget}`);
  }
  await run(scenario(), { out: resumed, workers: 1, signal: interruptAfter(30) });
  await resume(await loadRun(resumed), { workers: 1 });
  assertSameRun(resumed, straight, "resumed", [
    "metrics.jsonl",
    "adapter/adapter_model.safetensors",
    "adapter/rescalers.json",
  ]);
});
