/** Real training on real threads, and what may happen to them. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { run } from "../../src/run/run.ts";
import { PiscinaPool } from "../../src/runtime/pools/piscina-pool.ts";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { lossFalls } from "../../src/scenario/expect.ts";
import { start } from "../support/command-process.ts";
import type { MortalData } from "../support/mortal-worker.ts";
import { assertSameRun, sameFiles, temporaryFolder } from "../support/run-folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

let folder = "";
let model = "";
const cleanUps: (() => void)[] = [];
before(() => {
  folder = temporaryFolder({ after: (action) => void cleanUps.push(action as () => void) });
  model = tinyModel(folder);
  process.env.XDG_CACHE_HOME = join(folder, "cache");
});
after(() => {
  for (const cleanUp of cleanUps) cleanUp();
});

const files = [...sameFiles, "adapter/adapter_model.safetensors", "adapter/rescalers.json"];
const reproduce = "npx flame run tiny";
const scenario = (rounds = 2) =>
  training(model, {
    rounds: { count: rounds, cohort: 6, deadline: 60_000, minUpdates: 2 },
    training: { batchSize: 8, learningRate: 2e-2 },
    expect: [lossFalls({ by: 0.01 })],
  });

test("one worker and two leave the same bytes, and the loss falls", async () => {
  for (const workers of [1, 2]) {
    const { expectations } = await run(scenario(), { out: join(folder, `workers-${workers}`), reproduce, workers });
    assert.deepEqual(
      expectations.map(({ held }) => held),
      [true],
      JSON.stringify(expectations),
    );
  }
  assertSameRun(join(folder, "workers-2"), join(folder, "workers-1"), "two workers", files);
});

test("a worker that dies in the middle of a task changes nothing in the result", async () => {
  const fate = new Int32Array(new SharedArrayBuffer(8));
  const { diagnostics } = await run(scenario(), {
    out: join(folder, "mortal"),
    reproduce,
    pool: ({ training }) => {
      const { setup, weights: baseWeights } = training!;
      const workerData: MortalData = { setup, engine: { baseWeights, lora: { rank: 2, alpha: 4 } }, fate };
      const worker = new URL("../support/mortal-worker.ts", import.meta.url);
      return new PiscinaPool({ worker, workers: 2, workerData });
    },
  });
  assert.notEqual(fate[1], 0, "a worker died");
  assert.equal(diagnostics.retries, 1);
  assertSameRun(join(folder, "mortal"), join(folder, "workers-1"), "with a dead worker", files);
});

test("Ctrl-C leaves a run that can be resumed to the same bytes", async () => {
  const rounds = 3;
  await run(scenario(rounds), {
    out: join(folder, "straight"),
    reproduce: `npx flame run ${join(folder, "x.json")}`,
    workers: 1,
  });
  const path = join(folder, "x.json");
  writeFileSync(path, scenarioToJson(scenario(rounds)));
  const out = join(folder, "stopped");
  const first = start(["run", path, "--out", out, "--workers", "1"]);
  // The base model's row is out, the first round is being trained.
  await first.until(/^ +0 /m);
  first.process.kill("SIGINT");
  const stopped = await first.ended;
  assert.equal(stopped.code, 130, `${stopped.out}\n${stopped.err}`);
  assert.match(stopped.out, new RegExp(`continue with: npx flame resume ${out}`));
  const record = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as { state: string };
  assert.equal(record.state, "interrupted");
  const second = await start(["resume", out, "--workers", "2"]).ended;
  assert.equal(second.code, 0, `${second.out}\n${second.err}`);
  assertSameRun(out, join(folder, "straight"), "after Ctrl-C", files);
});
