/** The two-view task with BMSFed from end to end, trained for real on this thread. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { trainingHandlers } from "../../actors/training.ts";
import { bmsfed } from "../../src/fl/strategies/registry.ts";
import { openRunFolder, readResult } from "../../src/folder/run-folder.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { defineScenario, type Scenario, type ScenarioInput } from "../../src/scenario/define.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter, sameFiles } from "../support/run-folders.ts";

const folder = folderOfFile();

const twoView = (overrides: Partial<ScenarioInput> = {}): Scenario =>
  defineScenario({
    name: "two-view",
    seed: 2,
    task: { type: "two-view", hidden: 8, features: 4 },
    data: { source: { type: "digits" }, partition: { type: "iid" }, heldOut: 0.2 },
    fleet: [
      { name: "both", clients: 3, budget: 3, tokensPerSecond: 100, uplink: 1e6 },
      { name: "grey", clients: 1, budget: 1, tokensPerSecond: 100, uplink: 1e6 },
      { name: "colour", clients: 1, budget: 2, tokensPerSecond: 100, uplink: 1e6, dropout: 0.3 },
    ],
    rounds: { count: 3, cohort: 3 },
    training: { batchSize: 16, maxSteps: 6, learningRate: 1e-2 },
    strategy: bmsfed(),
    evaluateEvery: 3,
    evaluationExamples: 200,
    ...overrides,
  });

const inline = ({ training }: Prepared) =>
  new InlinePool(
    trainingHandlers(
      () => training!.setup,
      () => createEngine({ task: training!.spec }),
    ),
  );
const files = [...sameFiles, "adapter/two_view_model.safetensors", "adapter/two_view_config.json"];

test("a run begins with everybody, is evaluated by one view, the other and both, and is the same when it is resumed", async () => {
  const straight = join(folder, "straight");
  const { rows, diagnostics } = await run(twoView(), { out: straight, reproduce: "x", pool: inline });
  assert.deepEqual([rows[0]!.round, rows[0]!.invited], [0, 5]);
  const [first, last] = [rows[0]!, rows.at(-1)!].map(({ evaluations }) => evaluations);
  assert.deepEqual(
    first!.map(({ budget }) => budget),
    [3, 2, 1],
  );
  // The prelude leaves the model as it was: ten classes, and nothing learned.
  assert.ok(first!.every(({ loss }) => loss > 1.9));
  const alone = last!.find(({ budget }) => budget === 1)!;
  assert.ok(alone.loss < first!.find(({ budget }) => budget === 1)!.loss, "the grey view alone learns");
  const out = join(folder, "resumed");
  const signal = interruptAfter(Math.floor(0.2 * diagnostics.events!));
  await run(twoView(), { out, reproduce: "x", pool: inline, signal });
  await resume(await loadRun(out), { reproduce: "x", pool: inline });
  assertSameRun(out, straight, "interrupted within the prelude", files);
  const sealed = Object.keys(readResult(openRunFolder(straight))!.files);
  assert.ok(readdirSync(join(straight, "adapter")).every((name) => sealed.includes(`adapter/${name}`)));
  const timed = await run(twoView({ timingOnly: true }), { out: null });
  assert.deepEqual(
    timed.rows.map(({ invited }) => invited),
    rows.map(({ invited }) => invited),
  );
  assert.equal(timed.rows[0]!.closedAt, rows[0]!.closedAt, "without training a prelude takes as long");
});

test("what does not fit is refused before the run: text, a budget of four, a task without modalities", async () => {
  const refused = (overrides: Partial<ScenarioInput>) => run(twoView(overrides), { out: null, pool: inline });
  await assert.rejects(refused({ data: {} }), /data.source is instructions, but the task two-view learns pictures/);
  const fleet = [{ name: "four", clients: 5, budget: 4, tokensPerSecond: 100, uplink: 1e6 }];
  await assert.rejects(refused({ fleet }), /is 4, but 1 is one view, 2 the other, and 3 both/);
  await assert.rejects(refused({ task: { type: "vision" } }), /bmsfed, which needs modalities/);
});
