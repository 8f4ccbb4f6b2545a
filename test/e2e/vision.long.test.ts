/** Images in a federation: the bytes of a run do not depend on how it was run, and small clients help. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import vision from "../../scenarios/vision.ts";
import { contiguous } from "../../src/data/partition.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { redefine, type Scenario } from "../../src/scenario/define.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter, sameFiles } from "../support/run-folders.ts";

const files = [...sameFiles, "pictures.json", "adapter/network_config.json", "adapter/network_model.safetensors"];
const folder = folderOfFile();
const { data, own } = vision;
const short: Scenario = redefine(
  { ...data, rounds: { ...data.rounds, count: 4 }, data: { ...data.data, partition: contiguous() }, expect: [] },
  own,
);
const options = { reproduce: "npx flame run scenario.json" };

let straight = "";
let events = 0;
before(async () => {
  straight = join(folder, "straight");
  const { diagnostics } = await run(short, { ...options, out: straight, workers: 1 });
  events = diagnostics.events!;
});

test("two workers that were interrupted, and one that resumed, leave the bytes of one", async () => {
  const out = join(folder, "resumed");
  const signal = interruptAfter(Math.floor(events / 2));
  assert.equal((await run(short, { ...options, out, workers: 2, signal })).state, "interrupted");
  await resume(await loadRun(out), { workers: 1 });
  assertSameRun(out, straight, "resumed", files);
});

test("with machines that train everything, sensors come to what their last block alone does not", async () => {
  const { rows, expectations } = await run(vision, { out: null, workers: 2 });
  assert.deepEqual(
    expectations.filter(({ held }) => !held),
    [],
  );
  const weak = data.fleet.map((tier) => ({ ...tier, budget: 1 }));
  const alone = await run(redefine({ ...data, fleet: weak, expect: [] }, own), { out: null, workers: 2 });
  const accuracyOf = (all: typeof rows) => all.at(-1)!.evaluations[0]!.accuracy;
  assert.ok(accuracyOf(rows) > accuracyOf(alone.rows) + 0.1, `${accuracyOf(rows)} against ${accuracyOf(alone.rows)}`);
});
