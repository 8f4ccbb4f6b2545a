/** A run that begins with what another has learned. */
import assert from "node:assert/strict";
import { appendFileSync, cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openRunFolder, readRecord, readResult } from "../../src/folder/run-folder.ts";
import { digestOfWarmStart } from "../../src/folder/warm-start.ts";
import { lookAtInputs } from "../../src/run/inputs.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { folderOfFile, temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { training } from "../support/scenarios.ts";
import { onThisThread, playTable, tabular } from "../support/tabular-run.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const first = join(folder, "first");
await playTable(tabular(), { out: first });

const model = tinyModel(folder);
const spoken = join(folder, "spoken");
const speaking = (overrides: Partial<ScenarioInput> = {}) =>
  training(model, {
    rounds: { count: 1, cohort: 8 },
    training: { batchSize: 4, maxSteps: 2, learningRate: 1e-2 },
    evaluationExamples: 8,
    ...overrides,
  });
const { rows: spokenRows } = await run(speaking(), { out: spoken, pool: onThisThread });

test("round 0 is what the other run ended with, rescalers at every budget included", async () => {
  for (const warmStart of [spoken, join(spoken, "adapter")]) {
    const { rows } = await run(speaking({ warmStart, seed: 1 }), { out: null, pool: onThisThread });
    assert.deepEqual(rows[0]!.evaluations, spokenRows.at(-1)!.evaluations);
    assert.notDeepEqual(rows[0]!.evaluations, spokenRows[0]!.evaluations);
  }
});

test("a PEFT adapter without rescalers begins with those of the scenario", async (t) => {
  const plain = join(temporaryFolder(t), "peft");
  cpSync(join(spoken, "adapter"), plain, { recursive: true });
  rmSync(join(plain, "rescalers.json"));
  const fixed = { rescaler: { learn: false } };
  const without = await run(speaking({ warmStart: plain, ...fixed }), { out: null, pool: onThisThread });
  assert.notDeepEqual(without.rows[0]!.evaluations, spokenRows.at(-1)!.evaluations);
});

test("an adapter of another rank is refused with both", async () => {
  const message = /adapter holds LoRA of rank 2 and alpha 4, but what is trained is LoRA of rank 3 and alpha 4/;
  await assert.rejects(run(speaking({ warmStart: spoken, lora: { rank: 3, alpha: 4 } }), { out: null }), { message });
});

test("an interrupted run that began with another's adapter goes on to the same bytes", async (t) => {
  const here = temporaryFolder(t);
  const scenario = tabular({ warmStart: first });
  await playTable(scenario, { out: join(here, "straight") });
  const out = join(here, "resumed");
  const { state } = await playTable(scenario, { out, signal: interruptAfter(12) });
  assert.equal(state, "interrupted");
  await resume(await loadRun(out), { pool: onThisThread });
  assertSameRun(out, join(here, "straight"), "warm start");
  assert.equal(readResult(openRunFolder(out))!.made.warmStart, digestOfWarmStart(first));
});

test("a run is not continued when what it began with has changed", async (t) => {
  const here = temporaryFolder(t);
  const from = join(here, "from");
  cpSync(join(first, "adapter"), from, { recursive: true });
  const out = join(here, "run");
  await playTable(tabular({ warmStart: from }), { out, signal: interruptAfter(12) });
  appendFileSync(join(from, "rescalers.json"), " ");
  await assert.rejects(resume(await loadRun(out), { pool: onThisThread }), {
    message: /the adapter that it begins with .*from has changed since: expected/,
  });
  assert.match((await lookAtInputs(out)).join(), /the adapter that it begins with .*from has changed since/);
});

test("a run that begins anew says nothing of a warm start", () => {
  assert.ok(!("warmStart" in readRecord(openRunFolder(first))!.made));
});

test("what cannot be begun with is refused in a line", async (t) => {
  const here = temporaryFolder(t);
  const begin = (warmStart: string) => playTable(tabular({ warmStart }));
  await assert.rejects(begin(join(here, "none")), { message: /warmStart: .*none does not exist; expected a run's/ });
  const unfinished = join(here, "unfinished");
  await playTable(tabular(), { out: unfinished, signal: interruptAfter(12) });
  await assert.rejects(begin(unfinished), { message: /warmStart: the run in .* has not finished/ });
  const timed = join(here, "timed");
  await playTable(tabular({ timingOnly: true }), { out: timed });
  await assert.rejects(begin(timed), { message: /warmStart: the run in .* has trained nothing/ });
  await assert.rejects(begin(spoken), { message: /tabular_config.json/ });
  const damaged = join(here, "damaged");
  cpSync(first, damaged, { recursive: true });
  appendFileSync(join(damaged, "adapter/tabular_config.json"), " ");
  await assert.rejects(begin(damaged), { message: /is not as its run left it/ });
});
