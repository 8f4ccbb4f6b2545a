/** A few of the kills that `npm run kill` deals out by the hundred. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { start } from "../support/command-process.ts";
import { killAndResume } from "../support/kill.ts";
import { assertSameFolder, temporaryFolder } from "../support/run-folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

let folder = "";
let file = "";
let straight = "";
const cleanUps: (() => void)[] = [];
const scenario = () =>
  training(tinyModel(folder), {
    rounds: { count: 4, cohort: 6, deadline: 60_000 },
    training: { batchSize: 8 },
    evaluateAt: [1],
  });

before(async () => {
  folder = temporaryFolder({ after: (action) => void cleanUps.push(action as () => void) });
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  file = join(folder, "scenario.json");
  straight = join(folder, "straight");
  writeFileSync(file, scenarioToJson(scenario()));
  const { code, said } = await killAndResume({ file, out: straight, moments: [], workers: [1] });
  assert.equal(code, 0, said);
  assert.deepEqual(readdirSync(join(folder, "cache")), ["flame-sim"], "nobody else keeps anything about the user");
});
after(() => {
  for (const cleanUp of cleanUps) cleanUp();
});

test("a run that is killed three times and resumed each time leaves the bytes of one that lived", async () => {
  const out = join(folder, "killed");
  // Before the first checkpoint, while workers start, and while they train.
  const moments = [{ afterLock: 5 }, { afterLock: 250 }, { afterLock: 900 }];
  const { stages, code, said } = await killAndResume({ file, out, moments, workers: [2, 1, 2] });
  assert.equal(code, 0, said);
  assert.ok(stages.length >= 1, "a process was killed");
  assertSameFolder(out, straight, `after kills ${stages.join(" and ")}`);
});

test("a run that is told twice to end does so at once, and goes on from its last checkpoint", async () => {
  const out = join(folder, "impatient");
  const first = start(["run", file, "--out", out, "--workers", "2"]);
  await first.until(/^ +0 /m);
  first.process.kill("SIGTERM");
  // A terminal and its launcher may both pass on one signal; what comes later is another one.
  const second = setTimeout(() => first.process.kill("SIGTERM"), 1_100);
  const { code, signal } = await first.ended;
  clearTimeout(second);
  assert.ok(code === 130 || signal === "SIGTERM", `code ${code}, signal ${signal}`);
  const said = await start(["resume", out, "--workers", "1"]).ended;
  assert.equal(said.code, 0, `${said.out}\n${said.err}`);
  assertSameFolder(out, straight, "after SIGTERM");
});

test("a process that was killed before its run began leaves a folder that a run can begin in", async () => {
  const out = join(folder, "stillborn");
  mkdirSync(join(out, "checkpoints"), { recursive: true });
  writeFileSync(join(out, "scenario.json.tmp"), "{ half");
  writeFileSync(join(out, "lock"), "");
  const { code, said } = await killAndResume({ file, out, moments: [], workers: [1] });
  assert.equal(code, 0, said);
  assertSameFolder(out, straight, "in the folder of another");
});
