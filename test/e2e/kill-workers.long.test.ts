/** Faults of the machine under a run that trains: what the user is told, and what survives. */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { MachineError } from "../../src/base/errors.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, sameFiles } from "../support/run-folders.ts";
import { trainedRun, trainedScenario } from "../support/trained-run.ts";
import { unrulyPool } from "../support/unruly-pool.ts";

const folder = folderOfFile();
let straight = "";
let reproduce = "";
const files = [...sameFiles, "adapter/adapter_model.safetensors"];

before(async () => {
  ({ out: straight, reproduce } = await trainedRun());
});

const logOf = (out: string): string => readFileSync(join(out, "diagnostics.log"), "utf8");
const stateOf = (out: string): string =>
  (JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as { state: string }).state;

test("a worker that is stuck is ended after the stated limit, and the result is the same", async () => {
  const out = join(folder, "stuck");
  const pool = unrulyPool({ fault: "hang", after: 4, times: 1, stuckAfter: 10_000 });
  const { diagnostics } = await run(trainedScenario, { out, reproduce, pool });
  assert.equal(diagnostics.retries, 1);
  assert.match(logOf(out), /has finished no step for 5 s[\s\S]*worker lost under "\w+" \(attempt 1\): stuck for 10 s/);
  assertSameRun(out, straight, "with a stuck worker", files);
});

test("a worker that runs out of memory once changes nothing in the result", async () => {
  const out = join(folder, "exhausted");
  const pool = unrulyPool({ fault: "exhaust", after: 3, times: 1, heapLimit: 96, workers: 1 });
  const { diagnostics } = await run(trainedScenario, { out, reproduce, pool });
  assert.equal(diagnostics.retries, 1);
  assert.match(logOf(out), /worker lost under "\w+" \(attempt 1\): .*memory limit/);
  assertSameRun(out, straight, "with an exhausted worker", files);
});

test("workers that run out of memory again and again end the run with a reason, and it can be resumed", async () => {
  const out = join(folder, "hopeless");
  const pool = unrulyPool({ fault: "exhaust", after: 6, times: 100, heapLimit: 96, workers: 1 });
  await assert.rejects(run(trainedScenario, { out, reproduce, pool }), (error: Error) => {
    assert.ok(error instanceof MachineError, String(error));
    assert.match(error.message, /worker lost 3 times under "\w+", giving up: .*memory limit/);
    return true;
  });
  assert.equal(stateOf(out), "failed");
  await resume(await loadRun(out), { workers: 1 });
  assertSameRun(out, straight, "after it failed", files);
});

test("a session that cannot be created is a failure of the machine that names the program", async () => {
  const out = join(folder, "sessionless");
  const pool = (prepared: Prepared) => {
    rmSync(prepared.training!.spec.weights!.path);
    return unrulyPool({ fault: "hang", after: 1e9, times: 0, workers: 1 })(prepared);
  };
  await assert.rejects(run(trainedScenario, { out, reproduce, pool }), (error: Error) => {
    assert.ok(error instanceof MachineError, String(error));
    assert.match(error.message, /session for "[^"]+" could not be created: .*weights\.bin/s);
    return true;
  });
  rmSync(join(folder, "cache"), { recursive: true });
  await resume(await loadRun(out), { workers: 1 });
  assertSameRun(out, straight, "once the weights were there again", files);
});

test("content that was overwritten in memory is noticed before it is written down", async () => {
  const out = join(folder, "overwritten");
  const pool = unrulyPool({ fault: "scribble", after: 5, times: 1, workers: 1 });
  await assert.rejects(run(trainedScenario, { out, reproduce, pool }), (error: Error) => {
    assert.ok(error instanceof MachineError, String(error));
    assert.match(error.message, /blob [0-9a-f]{12} .* now has the digest [0-9a-f]{12}: its memory was overwritten/);
    return true;
  });
  await resume(await loadRun(out), { workers: 1 });
  assertSameRun(out, straight, "from the checkpoint before", files);
});

test("a clock that jumps while a run goes on shows nowhere in it", async (t) => {
  const out = join(folder, "jumping");
  const now = Date.now;
  let calls = 0;
  t.after(() => {
    Date.now = now;
  });
  Date.now = () => now() + (calls++ % 2 === 0 ? 1e9 : -1e9);
  await run(trainedScenario, { out, reproduce, workers: 1 });
  assertSameRun(out, straight, "with a jumping clock", files);
});
