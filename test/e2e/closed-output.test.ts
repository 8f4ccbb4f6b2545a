/** `flame … | head -1`: whoever reads the output stops reading. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openRunFolder, readRecord } from "../../src/folder/run-folder.ts";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { start } from "../support/command-process.ts";
import { temporaryFolder } from "../support/folders.ts";
import { timingOnly } from "../support/scenarios.ts";

test("a run whose output nobody reads any more goes on to its end, quietly, and writes its folder", async (t) => {
  const folder = temporaryFolder(t);
  const [path, out] = [join(folder, "scenario.json"), join(folder, "run")];
  writeFileSync(path, scenarioToJson(timingOnly({ rounds: { count: 40, cohort: 2 } })));
  const command = start(["run", path, "--out", out]);
  await command.until(/\n/);
  command.process.stdout!.destroy();
  const { code, signal, err } = await command.ended;
  assert.deepEqual([code, signal, err], [0, null, ""]);
  assert.equal(readRecord(openRunFolder(out))?.state, "finished");
});
