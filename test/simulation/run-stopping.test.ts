/** Runs that end before their last round. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fedbuff } from "../../src/fl/policies/registry.ts";
import { openRunFolder, readResult } from "../../src/folder/run-folder.ts";
import { broken } from "../../src/folder/seal.ts";
import type { RunOptions } from "../../src/run/options.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { onThisThread, playTable, tabular } from "../support/tabular-run.ts";

const rounds = { count: 8, cohort: 4 };
const play = (overrides: Partial<ScenarioInput>, options: RunOptions = {}) =>
  playTable(tabular({ rounds, ...overrides }), options);

const free = await play({});
const losses = free.rows.map(({ evaluations }) => evaluations[0]!.loss);

test("a run ends after the round that reaches its target, with the rows that it would have had so far", async () => {
  const target = losses[3]!;
  assert.ok(losses.slice(0, 3).every((loss) => loss > target));
  const notes: string[] = [];
  const listen: RunOptions["listen"] = (progress) => void (progress.type === "note" && notes.push(progress.text));
  const { rows, stop, rounds: played } = await play({ stop: { target } }, { listen });
  assert.equal(played, 3);
  assert.deepEqual(rows, free.rows.slice(0, 4));
  assert.deepEqual(stop, { because: "target", best: { round: 3, value: target } });
  assert.ok(notes.includes(`the run ends after round 3: the target of loss ${target} is reached`), notes.join("\n"));
});

test("a target is looked for where the run is evaluated, in the direction that is better", async () => {
  const { rows, stop } = await play({ evaluateEvery: 2, stop: { metric: "accuracy", target: 0 } });
  assert.deepEqual([rows.length, stop!.best!.round], [1, 0]);
  const never = await play({ stop: { metric: "accuracy", target: 1.5 } });
  assert.deepEqual([never.rounds, never.stop!.because], [8, null]);
});

test("a run whose loss no longer improves ends, and leaves its best adapter beside the last", async (t) => {
  const out = join(temporaryFolder(t), "run");
  // So large a rate that it overshoots, after some time.
  const training = { batchSize: 16, maxSteps: 3, learningRate: 4 };
  const { rows, stop, rounds: played } = await play({ training, stop: { patience: 2 } }, { out });
  const found = rows.map(({ evaluations }) => evaluations[0]!.loss);
  const best = found.indexOf(Math.min(...found));
  assert.deepEqual(stop, { because: "patience", best: { round: best, value: found[best] } });
  assert.equal(played, best + 2);
  // A run that is over when that round is leaves the same adapter.
  const short = join(temporaryFolder(t), "short");
  await play({ training, rounds: { count: best, cohort: 4 } }, { out: short });
  assert.deepEqual(filesIn(join(out, "best")), filesIn(join(short, "adapter")));
  assert.notDeepEqual(modelIn(join(out, "best")), modelIn(join(out, "adapter")));
  const result = readResult(openRunFolder(out))!;
  assert.deepEqual(result.stop, stop);
  assert.ok("best/tabular_model.safetensors" in result.files);
  assert.deepEqual(broken(openRunFolder(out), result), []);
});

const filesIn = (folder: string) =>
  readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")] as const);
const modelIn = (folder: string): Buffer => readFileSync(join(folder, "tabular_model.safetensors"));

test("an improvement of less than minDelta is none", async () => {
  const { stop, rounds: played } = await play({ stop: { patience: 3, minDelta: 100 } });
  assert.deepEqual([played, stop], [3, { because: "patience", best: { round: 0, value: losses[0] } }]);
});

test("a run that may end early is the same on any number of workers, and resumed anywhere", async (t) => {
  const folder = temporaryFolder(t);
  const asynchronous = { rounds: { ...rounds, policy: fedbuff({ buffer: 2, concurrency: 3 }) } };
  const unstopped = await play(asynchronous);
  const overrides = { ...asynchronous, stop: { target: unstopped.rows[4]!.evaluations[0]!.loss } };
  const straight = join(folder, "straight");
  const { diagnostics, stop, rounds: played } = await play(overrides, { out: straight, reproduce });
  assert.equal(stop!.because, "target");
  assert.ok(played < 8);
  for (const share of [0.1, 0.3, 0.5, 0.7, 0.9, 0.97]) {
    const out = join(folder, `resumed-${share}`);
    const signal = interruptAfter(Math.floor(share * diagnostics.events!));
    const first = await play(overrides, { out, reproduce, signal, pool: late });
    assert.equal(first.state, "interrupted");
    await resume(await loadRun(out), { reproduce, pool: onThisThread });
    assertSameRun(out, straight, `after ${share} of the events`);
    assert.deepEqual(filesIn(join(out, "best")), filesIn(join(straight, "best")));
  }
});

const reproduce = "npx flame run tabular";

/** Four workers; an evaluation takes longer the fewer tasks went before it. */
function late(prepared: Prepared) {
  const pool = onThisThread(prepared);
  let tasks = 0;
  return {
    workers: 4,
    diagnostics: pool.diagnostics,
    close: () => pool.close(),
    async run(...asked: Parameters<typeof pool.run>) {
      const result = await pool.run(...asked);
      for (let turn = 20 - Math.min(20, tasks++); turn > 0; turn--) await new Promise(setImmediate);
      return result;
    },
  };
}

test("a run without a rule leaves no best adapter, and one without training does not ask", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await play({}, { out });
  assert.ok(!existsSync(join(out, "best")), readdirSync(out).join());
  const timed = await play({ stop: { patience: 1 }, timingOnly: true });
  assert.deepEqual([timed.rounds, timed.stop], [8, undefined]);
});

test("a measure that the task has not, a budget that is not evaluated, and a rule without either are refused", async () => {
  assert.throws(() => tabular({ stop: { metric: "psnr", patience: 1 } }), {
    message: /stop\.metric is "psnr", expected one of loss, accuracy/,
  });
  assert.throws(() => tabular({ stop: { minDelta: 1 } }), { message: /stop .*expected a target, patience or both/ });
  await assert.rejects(play({ stop: { at: 2, patience: 1 } }), {
    message: /stop\.at is 2, expected a budget that is evaluated: 1/,
  });
});
