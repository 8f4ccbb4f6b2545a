import assert from "node:assert/strict";
import { join } from "node:path";
import { before, test } from "node:test";
import type { TrainRecipe } from "../../../actors/recipes.ts";
import type { Equipment } from "../../../src/run/pools/elsewhere.ts";
import { type Prepared, prepare } from "../../../src/run/prepare.ts";
import { gatheringOf, makePool, mostTogether } from "../../../src/run/workforce.ts";
import { folderOfFile } from "../../support/folders.ts";
import { training } from "../../support/scenarios.ts";
import { tinyModel } from "../../support/tiny-model.ts";

const folder = folderOfFile();
let prepared: Prepared;
before(async () => {
  prepared = await prepare(training(tinyModel(folder)), { embedded: folder, cache: join(folder, "cache") });
});

const gathering = (equipment: Equipment) =>
  gatheringOf(prepared, equipment, mostTogether(prepared, equipment), assert.fail);

test("a GPU has one worker, however many were asked for", async () => {
  for (const [engine, workers] of [
    ["onnx-webgpu", 1],
    ["onnx", 3],
  ] as const) {
    const pool = makePool(prepared, 3, { engine });
    assert.equal(pool.workers, workers);
    await pool.close();
  }
});

test("clients train one by one on a CPU unless they are told to share", () => {
  assert.equal(gathering({ engine: "onnx" }), null);
  assert.notEqual(gathering({ engine: "onnx", merge: { clients: 2 } }), null);
  assert.notEqual(gathering({ engine: "onnx-webgpu" }), null);
});

test("clients of one budget share a call, those with the most steps first, whoever is asked for first", () => {
  const shared = gathering({ engine: "onnx", merge: { clients: 4 } })!;
  const jobs = Array.from(
    { length: 13 },
    (_, client) =>
      ({
        client,
        variant: { topK: client % 3 === 0 ? 1 : 2 },
        effort: client % 2 === 0 ? 1 : 0.2,
      }) as unknown as TrainRecipe,
  );
  const groups = shared.group(jobs);
  assert.deepEqual(
    groups.flat().toSorted((a, b) => a - b),
    jobs.map((_, index) => index),
  );
  assert.deepEqual(
    groups.map((group) => group.length),
    [4, 1, 4, 4],
  );
  for (const group of groups) assert.equal(new Set(group.map((index) => jobs[index]!.variant.topK)).size, 1);
  const efforts = groups.slice(2).flatMap((group) => group.map((index) => jobs[index]!.effort));
  assert.ok(efforts.indexOf(0.2) > 0 && efforts.at(-1) === 0.2);
});
