/** The promise of the README, with the real engine and the base model that comes with the program. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { trainingHandlers } from "../../actors/training.ts";
import { Rng } from "../../src/base/random.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";
import { programs } from "../support/command-process.ts";
import { embeddedScenario } from "../support/embedded-scenario.ts";
import { folderOfFile } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { otherNodes } from "../support/nodes.ts";
import { assertSameRun, interruptAfter, sameFiles } from "../support/run-folders.ts";

const files = [...sameFiles, "adapter/adapter_model.safetensors", "adapter/rescalers.json"];

const folder = folderOfFile();
let straight = "";
let file = "";
let reproduce = "";
let events = 0;
let withCheckpoints: string[] = [];
before(async () => {
  file = join(folder, "scenario.json");
  reproduce = `npx flame run ${file}`;
  straight = join(folder, "straight");
  writeFileSync(file, scenarioToJson(embeddedScenario()));
  const { diagnostics } = await run(embeddedScenario(), { out: straight, reproduce, workers: 1 });
  events = diagnostics.events!;
  const checkpoints = readdirSync(join(straight, "checkpoints"));
  assert.equal(checkpoints.length, 3);
  withCheckpoints = [...files, ...checkpoints.map((name) => join("checkpoints", name))];
});

test("four workers leave the bytes of one", async () => {
  const out = join(folder, "four");
  await run(embeddedScenario(), { out, reproduce, workers: 4 });
  assertSameRun(out, straight, "four workers", withCheckpoints);
});

test("the thread that simulates leaves the bytes of a worker", async () => {
  const out = join(folder, "inline");
  await run(embeddedScenario(), {
    out,
    reproduce,
    pool: ({ training }) => {
      const { setup, spec } = training!;
      return new InlinePool(
        trainingHandlers(
          () => setup,
          () => createEngine({ task: spec }),
        ),
      );
    },
  });
  assertSameRun(out, straight, "inline", withCheckpoints);
});

test("a run that was interrupted at any event and resumed leaves the bytes of one that was not", async () => {
  const stop = new Rng(events).at("stop").at(0).below(events);
  const out = join(folder, "resumed");
  const { state } = await run(embeddedScenario(), { out, reproduce, workers: 2, signal: interruptAfter(stop) });
  assert.equal(state, "interrupted");
  await resume(await loadRun(out), { workers: 1 });
  assertSameRun(out, straight, `resumed after event ${stop} of ${events}`, files);
});

/** Another process, on the Node at `path`. */
async function inProcess(path: string, out: string): Promise<void> {
  const words = [...programs.built, "run", file, "--workers", "2", "--out", out, "--quiet"];
  const child = spawn(path, words, { stdio: ["ignore", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(code, 0, complaint);
}

test("another process leaves the same bytes", async () => {
  const out = join(folder, "process");
  await inProcess(process.execPath, out);
  assertSameRun(out, straight, "another process", withCheckpoints);
});

const nodes = otherNodes();
test("other versions of Node leave the same bytes", {
  skip: nodes.length === 0 && needs.nodes,
}, async (t) => {
  for (const { path, version } of nodes) {
    const out = join(folder, version);
    await inProcess(path, out);
    assertSameRun(out, straight, version, files);
    t.diagnostic(`${process.version} and ${version} agree`);
  }
});
