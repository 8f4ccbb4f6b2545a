/** `flame compare` as a user meets it: the table, more seeds later, and mistakes. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
const path = join(folder, "own.ts");
writeFileSync(
  path,
  `import { defineScenario, fedavg, instructions } from "flame-sim";
  export default defineScenario({
    name: "tiny", model: ${JSON.stringify(model)}, lora: { rank: 2, alpha: 4 },
    data: { source: instructions({ examples: 120 }), maxTokens: 96 },
    fleet: [
      { name: "strong", clients: 3, budget: 4, tokensPerSecond: 900, uplink: 1e6 },
      { name: "weak", clients: 3, budget: 1, tokensPerSecond: 300, uplink: 1e5 },
    ],
    rounds: { count: 1, cohort: 3 }, training: { batchSize: 4, maxSteps: 2 }, evaluationExamples: 8,
    strategy: { ...fedavg(), name: "mine(1)", spec: { type: "mine" } },
  });`,
);

test("methods become a table; seeds and methods added later run alone; own strategies have their names", async () => {
  const out = join(folder, "out");
  const words = ["compare", path, "--workers", "1", "--out", out];
  const plots = ["loss-k4:time-to-target", "tier-weak:jain"].flatMap((plot) => ["--plot", plot]);
  const first = await runFlame(...words, "--strategies", "flame,mine", "--seeds", "1", ...plots);
  assert.equal(first.code, 0, first.err);
  assert.match(first.out, /One seed is too few to tell what differs/);
  const cells = () => readFileSync(join(out, "cells.jsonl"), "utf8").trimEnd().split("\n");
  const before = cells();
  const all = ["--strategies", "flame,mine,fedavg", "--seeds", "3", "--against", "fedavg"];
  const { code, out: said, err } = await runFlame(...words, ...all);
  assert.equal(code, 0, err);
  assert.match(said, /9 cells, 2 of them done before/);
  assert.deepEqual(cells().slice(0, 2), before);
  assert.match(said, /method +k = 4 +k = 1 +mean/);
  // The scenario's own is FedAvg under another name.
  assert.match(said, /mine +\+0\.000 +\+0\.000 to \+0\.000 +1\.000 +1\.000 +no difference seen/);
  assert.match(readFileSync(join(out, "comparison.md"), "utf8"), /npx flame compare .* --against fedavg/);
  assert.match(readFileSync(join(out, "report.html"), "utf8"), /Held-out loss by budget/);
  const lines = readFileSync(join(out, "comparison.csv"), "utf8").trimEnd().split("\n");
  const values = (method: string) => lines.flatMap((line) => line.split(`,${method},${method},`)[1] ?? []);
  assert.equal(values("mine").length, values("fedavg").length);
  assert.ok(values("mine").length > 0);
  assert.deepEqual(values("mine"), values("fedavg"));
});

test("a mistake is found before anything runs", async () => {
  const refuse = async (message: RegExp, ...words: string[]) => {
    const { code, err } = await runFlame("compare", path, ...words, "--out", join(folder, "none"));
    assert.equal(code, 2, err);
    assert.match(err, message);
    assert.throws(() => readFileSync(join(folder, "none", "cells.jsonl")), /ENOENT/);
  };
  await refuse(/strategy/, "--strategies", "flame,fedpox");
  await refuse(
    /--against is krum, expected one of the methods: flame; mine/,
    "--strategies",
    "flame,mine",
    "--against",
    "krum",
  );
  await refuse(/expected a number of seeds/, "--strategies", "flame", "--seeds", "0");
  // Budgets are those of the fleet and the model's own, 4.
  const plots = [
    ["bytes:loss-k3", /--plot: there is no loss-k3, expected loss-k4, loss-k1, loss-mean, /],
    ["tier-strng:bytes", /--plot: there is no tier-strng, expected .*, tier-strong, tier-weak, /],
    ["bytes", /--plot is bytes, expected one column of the tables against another/],
  ] as const;
  for (const [plot, message] of plots) {
    await refuse(message, "--strategies", "flame", "--seeds", "1", "--plot", "bytes:loss-k1", "--plot", plot);
  }
});
