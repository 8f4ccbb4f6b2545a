/** The watchdog of a real pool, which has to wait in real time. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { PiscinaPool } from "../../src/runtime/pools/piscina-pool.ts";
import { temporaryFolder } from "../support/folders.ts";

test("a task that does not come back is ended by the watchdog and begun again", async (t) => {
  // The limit counts the start of a worker too, which takes seconds where the machine is busy.
  const worker = new URL("../support/pool-worker.ts", import.meta.url);
  const pool = new PiscinaPool({ worker, workers: 1, attempts: 6, stuckAfter: 10_000 });
  const begun = join(temporaryFolder(t), "begun");
  assert.equal(await pool.run({ work: "hang", job: { begun, failing: 1 }, blobs: [] }), "came back");
  assert.ok(pool.diagnostics.stuck >= 1);
  assert.match(pool.diagnostics.problems.join(), /"hang" has finished no step for 5 s.*stuck for 10 s/);
  await pool.close();
});
