/** Ranks of a restorer learned by a federation: on any number of workers, and with pictures of what came of it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pictures } from "../../src/data/images/source.ts";
import { dirichlet } from "../../src/data/partition.ts";
import { mixtureOfRanks } from "../../src/fl/strategies/registry.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario } from "../../src/scenario/define.ts";
import { temporaryFolder } from "../support/folders.ts";

const scenario = () =>
  defineScenario({
    name: "restore",
    seed: 2,
    task: { type: "restore" },
    data: { source: pictures({ examples: 240, side: 16 }), partition: dirichlet({ alpha: 0.5 }), heldOut: 60 },
    fleet: [
      { name: "phone", clients: 3, budget: 1, tokensPerSecond: 10, uplink: 1e6 },
      { name: "laptop", clients: 3, budget: 2, tokensPerSecond: 40, uplink: 1e6, dropout: 0.2 },
    ],
    rounds: { count: 4, cohort: 5, deadline: 120_000 },
    training: { epochs: 2, batchSize: 8, learningRate: 5e-3 },
    strategy: mixtureOfRanks(),
    evaluateEvery: 4,
  });

test("a restorer that clients taught restores better, the same on one worker and on two, and shows what it can", async (t) => {
  const folders = [1, 2].map(() => join(temporaryFolder(t), "run"));
  const results = [];
  for (const [at, out] of folders.entries()) results.push(await run(scenario(), { out, workers: at + 1 }));
  const [one, two] = results;
  assert.deepEqual([two!.digest, two!.adapterDigest], [one!.digest, one!.adapterDigest]);
  const files = ["metrics.jsonl", "pictures.json", join("adapter", "ranks.safetensors")];
  for (const file of files)
    assert.deepEqual(readFileSync(join(folders[1]!, file)), readFileSync(join(folders[0]!, file)));
  const psnrOf = (round: number) => one!.rows[round]!.evaluations.map(({ more }) => more!.psnr!);
  for (const [at, psnr] of psnrOf(4).entries()) assert.ok(psnr > psnrOf(0)[at]! + 0.3, `${psnr} dB`);
  const [sheet] = JSON.parse(readFileSync(join(folders[0]!, "pictures.json"), "utf8"));
  assert.equal(sheet.strips.length, 4 * 3, "three of each level");
});
