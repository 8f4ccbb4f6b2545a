/**
 * Run folders of earlier versions: each command opens one as it should, or refuses it and names what it cannot read.
 * `test/golden/data/run-folders` has a run that finished and one that was interrupted for formats that were in use; whoever changes a
 * format adds them as the last version wrote them.
 */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError, ScenarioError } from "../../src/base/errors.ts";
import { readResult } from "../../src/folder/run-folder.ts";
import { writeReport } from "../../src/report/report.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { holds, verifyRun } from "../../src/study/verify.ts";
import { temporaryFolder } from "../support/folders.ts";

type After = { after(then: () => void): void };

function copyOf(name: string, t: After): string {
  const path = join(temporaryFolder(t), "run");
  cpSync(join(import.meta.dirname, "..", "golden", "data", "run-folders", name), path, { recursive: true });
  return path;
}

/** What is said of a run that cannot be opened; null where it can. */
async function refusal(action: () => unknown): Promise<string | null> {
  try {
    await action();
    return null;
  } catch (error) {
    assert.ok(error instanceof InputError || error instanceof ScenarioError, `${(error as Error).stack}`);
    return error.message;
  }
}

test("a run of before inputs were stated is refused, and what is missing is named", async (t) => {
  for (const state of ["finished", "interrupted"]) {
    const path = copyOf(`format-4/${state}`, t);
    const missing = /run\.json has 2 mistakes\n {2}made is missing, expected an object\n {2}startedIn is missing/;
    assert.match((await refusal(() => verifyRun(path)))!, missing);
    assert.match((await refusal(async () => resume(await loadRun(path), { force: true })))!, missing);
    assert.match((await refusal(() => writeReport(path)))!, /participations\.jsonl line 1: budget is missing/);
  }
});

test("a run that finished in the present format still verifies and is reported", async (t) => {
  const path = copyOf("format-7/finished", t);
  const verification = await verifyRun(path);
  assert.ok(holds(verification), JSON.stringify(verification));
  assert.equal(await refusal(() => writeReport(path)), null);
  assert.match((await refusal(async () => resume(await loadRun(path))))!, /has finished/);
});

test("a run that another version began goes on when it is forced to", async (t) => {
  const path = copyOf("format-7/interrupted", t);
  const reason = await refusal(async () => resume(await loadRun(path)));
  if (reason !== null) {
    assert.match(reason, /cannot be continued: .* --force continues it anyway/s);
    await resume(await loadRun(path), { force: true });
    assert.notDeepEqual(readResult((await loadRun(path)).folder)?.continuedDespite, []);
  }
  assert.ok(holds(await verifyRun(path)));
});
