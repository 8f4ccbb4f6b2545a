/** Runs in which clients share calls, with the real engine and real threads. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { trainingHandlers } from "../../actors/training.ts";
import { MachineError } from "../../src/base/errors.ts";
import { Rng } from "../../src/base/random.ts";
import { readLines } from "../../src/folder/line-file.ts";
import { readRecord } from "../../src/folder/run-folder.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import type { RunResult } from "../../src/run/result.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { verifyByRerun } from "../../src/study/verify.ts";
import { baseWeightsOf } from "../../src/tasks/llm/kind.ts";
import type { Executor } from "../../src/tensor/executors/executor.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";
import { embeddedScenario } from "../support/embedded-scenario.ts";
import { folderOfFile } from "../support/folders.ts";
import { LlmEngine } from "../support/llm-engine.ts";
import { assertSameRun, contentsOf, interruptAfter, sameFiles } from "../support/run-folders.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { unrulyPool } from "../support/unruly-pool.ts";

const folder = folderOfFile();
const files = [...sameFiles, "adapter/adapter_model.safetensors", "adapter/rescalers.json"];
const merge = { clients: 4 };
const lora = { rank: 2, alpha: 4 };
const reproduce = "npx flame run merged";
/** Enough clients of a budget that calls of four, two and one occur. */
const scenario = embeddedScenario({
  model: tinyModel(folder),
  fleet: [
    { name: "laptop", clients: 7, budget: 2, tokensPerSecond: 500, uplink: 1e6 },
    { name: "phone", clients: 3, budget: 1, tokensPerSecond: 100, uplink: 1e5, dropout: 0.2 },
  ],
  rounds: { count: 2, cohort: 10, deadline: 300_000 },
});

let merged = "";
let result: RunResult;
before(async () => {
  merged = join(folder, "merged");
  result = await run(scenario, { out: merged, reproduce, workers: 1, merge });
});

test("who takes part is the same as one by one, and the losses agree", async () => {
  const out = join(folder, "alone");
  const alone = await run(scenario, { out, reproduce, workers: 2, merge: { clients: 1 } });
  assert.equal(result.digest, alone.digest);
  const told = ["events.jsonl", "participations.jsonl"];
  assert.deepEqual(contentsOf(merged, told), contentsOf(out, told));
  const rows = [merged, out].map((run) => readLines<RoundMetrics>(join(run, "metrics.jsonl")));
  assert.ok(rows[0]!.some(({ counted }) => counted > 8));
  for (const [at, row] of rows[0]!.entries()) {
    const other = rows[1]![at]!;
    assert.deepEqual([row.counted, row.late, row.dropped], [other.counted, other.late, other.dropped]);
    // Float32 sums in another order, after two rounds of two steps.
    for (const [i, { loss }] of row.evaluations.entries()) {
      assert.ok(Math.abs(loss - other.evaluations[i]!.loss) < 1e-4, `round ${row.round}: ${loss}`);
    }
    if (row.trainLoss !== null) assert.ok(Math.abs(row.trainLoss - other.trainLoss!) < 1e-4);
  }
  assert.notEqual(result.adapterDigest, alone.adapterDigest, "nobody shared a call");
});

test("two workers leave the bytes of one", async () => {
  const out = join(folder, "two");
  await run(scenario, { out, reproduce, workers: 2, merge });
  assertSameRun(out, merged, "two workers", files);
});

test("a run that was interrupted at any event and resumed leaves the same bytes", async () => {
  const { events = 1 } = result.diagnostics;
  const stop = new Rng(events).at("stop").at(0).below(events);
  const out = join(folder, "resumed");
  const { state } = await run(scenario, { out, reproduce, workers: 2, merge, signal: interruptAfter(stop) });
  assert.equal(state, "interrupted");
  const other = resume(await loadRun(out), { workers: 1, merge: { clients: 2 } });
  await assert.rejects(other, /trained with 4 clients a call, this run would with 2 clients a call/);
  await resume(await loadRun(out), { workers: 1 });
  assertSameRun(out, merged, `resumed after event ${stop} of ${events}`, files);
});

test("a worker that dies in the middle of a call leaves the same bytes", async () => {
  const out = join(folder, "mortal");
  const pool = unrulyPool({ fault: "die", after: 2, times: 1 }, { engine: "onnx", merge });
  const { diagnostics } = await run(scenario, { out, reproduce, merge, pool });
  assert.equal(diagnostics.retries, 1);
  assertSameRun(out, merged, "with a worker that died", files);
});

test("a device that runs out of memory goes on with smaller calls, which are those of a smaller limit, and says so", async () => {
  const [out, pairs] = [join(folder, "tight"), join(folder, "pairs")];
  await run(scenario, { out: pairs, reproduce, workers: 2, merge: { clients: 2 } });
  const notes: string[] = [];
  await run(scenario, {
    out,
    reproduce,
    merge,
    listen: (told) => void (told.type === "note" && notes.push(told.text)),
    pool: ({ training }) =>
      new InlinePool(
        trainingHandlers(
          () => training!.setup,
          async () => new LlmEngine(tight, baseWeightsOf(training!.spec), lora, { merge }),
        ),
      ),
  });
  // result.json says which limit was asked for.
  const trained = files.filter((name) => name !== "result.json");
  assertSameRun(out, pairs, "after memory ran out", trained);
  const said = /4 clients did not fit into memory, 2 are tried: .*out of memory/;
  assert.equal(notes.filter((note) => said.test(note)).length, 1, notes.join("\n"));
  assert.match(readFileSync(join(out, "diagnostics.log"), "utf8"), said);
});

/** A device on which programs for more than two clients fail. */
const tight: Executor = {
  name: "tight",
  async compile(program, weights) {
    const executable = await new OnnxExecutor().compile(program, weights);
    const clients = Number(/train (\d+) clients/.exec(program.name)?.[1] ?? 1);
    const refuse = () => Promise.reject(new MachineError(`program "${program.name}" failed: out of memory`));
    return clients > 2 ? { ...executable, run: refuse, dispose: () => executable.dispose() } : executable;
  },
};

test("the run says how many shared a call, and is verified in the same way", async () => {
  assert.deepEqual(readRecord({ record: join(merged, "run.json") } as never)?.merge, merge);
  const { holds, found } = await verifyByRerun(merged, { workers: 1 });
  assert.ok(holds, found);
});
