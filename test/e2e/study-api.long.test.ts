/** `study`, `readStudy` and `readRun`, as a program uses them. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { defineScenario, fedavg, InputError, readRun, readStudy, ScenarioError, study } from "../../src/index.ts";
import { folderOfFile } from "../support/folders.ts";
import { shape, threeTiers, timingOnly } from "../support/scenarios.ts";

const folder = folderOfFile();

test("a study runs its cells, tells of each, and is read again as it was", async () => {
  const out = join(folder, "first");
  const told: string[] = [];
  const found = await study(
    timingOnly(),
    { dropouts: [0, 0.5], seeds: [1, 2] },
    { out, workers: 2, keepRuns: true, onCell: ({ condition, seed }) => told.push(`${condition}, ${seed}`) },
  );
  assert.equal(found.cells.length, 4);
  assert.deepEqual(told.sort(), ["dropout 0 %, 1", "dropout 0 %, 2", "dropout 50 %, 1", "dropout 50 %, 2"]);
  assert.deepEqual(readStudy(out), found);
  const { at, result, run } = found.cells[1]!;
  assert.equal(at.dropout!.value, 0.5);
  const { rounds, seed } = readRun(run!);
  assert.equal(seed, 1);
  assert.equal(
    rounds.reduce((sum, { counted }) => sum + counted, 0),
    result!.cell.counted,
  );
});

test("the same study again runs nothing, and more seeds add to it", async () => {
  const out = join(folder, "more");
  const run = async (seeds: number[]): Promise<number> => {
    let count = 0;
    await study(timingOnly(), { seeds }, { out, workers: 1, onCell: () => count++ });
    return count;
  };
  assert.equal(await run([1, 2]), 2);
  const before = readFileSync(join(out, "cells.jsonl"), "utf8");
  assert.equal(await run([1, 2]), 0);
  assert.equal(await run([1, 2, 3]), 1);
  assert.ok(readFileSync(join(out, "cells.jsonl"), "utf8").startsWith(before));
});

test("code that is in no file runs as well, beside the built-in", async () => {
  const own = { ...fedavg(), name: "mine", spec: { type: "mine" }, prelude: true };
  const scenario = defineScenario({
    ...{ name: "own", timingOnly: true, model: shape, fleet: [...threeTiers], strategy: own },
    data: { sizes: { examplesPerClient: 20, tokensPerExample: 40 } },
    rounds: { count: 2, cohort: 4 },
  });
  const { cells } = await study(scenario, { strategies: ["mine", "fedavg"], seeds: [1] }, { out: join(folder, "own") });
  const [mine, plain] = cells.map(({ result }) => result!.cell);
  assert.ok(mine!.bytes > plain!.bytes, "its prelude asks everybody");
});

test("what is wrong with axes is said before anything runs, and a folder that is no study by what it lacks", async () => {
  const out = join(folder, "none");
  await assert.rejects(study(timingOnly(), { vary: { "rounds.cohrt": [1] } }, { out }), ScenarioError);
  await assert.rejects(study(timingOnly(), { seeds: [] }, { out }), /study\.seeds is \[\], expected/);
  const mistaken = { folder: out } as never;
  await assert.rejects(
    study(timingOnly(), {}, mistaken),
    /study: folder is no option of a study, expected some of out, /,
  );
  assert.throws(
    () => readStudy(out),
    (error) => error instanceof InputError && /has no study\.json/.test(error.message),
  );
});

test("whoever gives up keeps what is done", async () => {
  const out = join(folder, "given-up");
  const abort = new AbortController();
  const options = { out, workers: 1, signal: abort.signal, onCell: () => abort.abort() };
  const { cells } = await study(timingOnly(), { seeds: [1, 2, 3] }, options);
  assert.deepEqual(
    cells.map(({ result }) => result !== null),
    [true, false, false],
  );
});
