/** Real training on real threads, and what may happen to them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { run } from "../../src/run/run.ts";
import { start } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, sameFiles } from "../support/run-folders.ts";
import { type TrainedRun, trainedRun, trainedScenario } from "../support/trained-run.ts";
import { unrulyPool } from "../support/unruly-pool.ts";

const files = [...sameFiles, "adapter/adapter_model.safetensors", "adapter/rescalers.json"];
const folder = folderOfFile();
let trained: TrainedRun;
before(async () => {
  trained = await trainedRun();
});

test("two workers, one of which dies in the middle of a task, leave the bytes of one, and the loss falls", async () => {
  const { out: straight, reproduce } = trained;
  const out = join(folder, "mortal");
  const pool = unrulyPool({ fault: "die", after: 2, times: 1 });
  const { diagnostics, expectations } = await run(trainedScenario, { out, reproduce, pool });
  assert.deepEqual(
    expectations.map(({ held }) => held),
    [true],
    JSON.stringify(expectations),
  );
  assert.equal(diagnostics.retries, 1);
  assertSameRun(out, straight, "with two workers, one of them dead", files);
});

test("Ctrl-C leaves a run that can be resumed to the same bytes", async () => {
  const { out: straight, file } = trained;
  const out = join(folder, "stopped");
  const first = start(["run", file, "--out", out, "--workers", "1"]);
  // The base model's row is out, the first round is being trained.
  await first.until(/^ +0 /m);
  first.process.kill("SIGINT");
  const stopped = await first.ended;
  assert.equal(stopped.code, 130, `${stopped.out}\n${stopped.err}`);
  assert.match(stopped.out, new RegExp(`continue with: npx flame resume ${out}`));
  const record = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as { state: string };
  assert.equal(record.state, "interrupted");
  const second = await start(["resume", out, "--workers", "1"]).ended;
  assert.equal(second.code, 0, `${second.out}\n${second.err}`);
  assertSameRun(out, straight, "after Ctrl-C", files);
});
