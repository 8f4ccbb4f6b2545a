/** A few of the kills that `npm run kill` deals out by the hundred. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { start } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";
import { killAndResume } from "../support/kill.ts";
import { assertSameFolder } from "../support/run-folders.ts";
import { trainedRun } from "../support/trained-run.ts";

const folder = folderOfFile();
let file = "";
let straight = "";
before(async () => {
  ({ file, out: straight } = await trainedRun());
});

test("a run that is killed three times and resumed each time leaves the bytes of one that lived", async () => {
  const out = join(folder, "killed");
  // As it begins its first files, in the midst of its checkpoints, and right after it was resumed.
  const moments = [{ onFile: 2 }, { onFile: 4 }, { onFile: 1 }];
  const { stages, code, said } = await killAndResume({ file, out, moments, workers: [2, 1, 2] });
  assert.equal(code, 0, said);
  assert.equal(stages.length, 3, `killed ${stages.join(" and ")}`);
  assertSameFolder(out, straight, `after kills ${stages.join(" and ")}`);
});

test("a run that is told again and again to end does so at once, and goes on from its last checkpoint", async () => {
  const out = join(folder, "impatient");
  const first = start(["run", file, "--out", out, "--workers", "2", "--json"]);
  await first.until(/"event":"round"/);
  // With each line of its progress. A terminal and its launcher may both pass on one signal; what comes later is another.
  first.process.stdout!.on("data", () => first.process.kill("SIGTERM"));
  first.process.kill("SIGTERM");
  const { code, signal } = await first.ended;
  assert.ok(code === 143 || signal === "SIGTERM", `code ${code}, signal ${signal}`);
  const said = await start(["resume", out, "--workers", "1"]).ended;
  assert.equal(said.code, 0, `${said.out}\n${said.err}`);
  assertSameFolder(out, straight, "after SIGTERM");
});

test("a process that was killed before its run began leaves a folder that a run can begin in", async () => {
  const out = join(folder, "stillborn");
  mkdirSync(join(out, "checkpoints"), { recursive: true });
  writeFileSync(join(out, `scenario.json.${hostname()}-${2 ** 30}.tmp`), "{ half");
  writeFileSync(join(out, "lock"), "");
  const { code, said } = await killAndResume({ file, out, moments: [], workers: [1] });
  assert.equal(code, 0, said);
  assertSameFolder(out, straight, "in the folder of another");
  assert.deepEqual(readdirSync(join(folder, "cache")), ["flame-sim"], "nobody else keeps anything about the user");
});
