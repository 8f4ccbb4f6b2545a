/** The scenario of two views on worker threads, with the real engine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import scenario from "../../scenarios/two-view.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { redefine } from "../../src/scenario/define.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameFolder, interruptAfter } from "../support/run-folders.ts";

const folder = folderOfFile();

test("two workers and a resumed run leave the bytes of one, and what the scenario expects holds", async () => {
  const { data, own } = scenario;
  const [one, two] = await Promise.all(
    [1, 2].map((workers) =>
      run(redefine(data, own), { out: join(folder, `workers-${workers}`), reproduce: "x", workers }),
    ),
  );
  assert.ok(one!.expectations.length > 0 && one!.expectations.every(({ held }) => held));
  assert.equal(two!.digest, one!.digest);
  assertSameFolder(join(folder, "workers-2"), join(folder, "workers-1"), "two workers");
  const out = join(folder, "resumed");
  const signal = interruptAfter(Math.floor(0.6 * one!.diagnostics.events!));
  await run(redefine(data, own), { out, reproduce: "x", workers: 2, signal });
  await resume(await loadRun(out), { reproduce: "x", workers: 2 });
  assertSameFolder(out, join(folder, "workers-1"), "resumed");
});
