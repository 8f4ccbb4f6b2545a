/** What becomes of a run whose author claimed something that cannot be judged. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { verifyRun } from "../../src/study/verify.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const out = join(folder, "run");

/** A scenario file with this claim. */
function claiming(name: string, claim: string): string {
  const file = join(folder, name);
  writeFileSync(
    file,
    `import { defineScenario, dirichlet, everyRoundAggregated, expectThat, instructions } from "flame-sim";
    export default defineScenario({
      name: "claims",
      model: ${JSON.stringify(join(folder, "tiny-model"))},
      lora: { rank: 2, alpha: 4 },
      data: { source: instructions({ examples: 100 }), partition: dirichlet({ alpha: 1 }), maxTokens: 96 },
      fleet: [{ name: "laptop", clients: 4, budget: 2, tokensPerSecond: 1_000, uplink: 1_000_000 }],
      rounds: { count: 1, cohort: 2 },
      evaluationExamples: 8,
      expect: [everyRoundAggregated(), expectThat("rows have a loss", ${claim})],
    });`,
  );
  return file;
}

const resultOf = () => JSON.parse(readFileSync(join(out, "result.json"), "utf8"));

test("a claim that throws is one that has not held; mended, it is judged without --force and without new training", async () => {
  tinyModel(folder);
  const file = claiming("claims.ts", "({ rows }) => rows[9]!.trainLoss! < 9");
  const said = await runFlame("run", file, "--out", out, "--workers", "1", "--merge", "1");
  assert.equal(said.code, 3, said.err);
  assert.match(said.out, /holds {2}every round aggregates/);
  assert.match(said.out, /fails {2}rows have a loss: it threw: Cannot read properties of undefined/);
  for (const name of ["adapter/adapter_model.safetensors", "report.html", "result.json"]) {
    assert.ok(existsSync(join(out, name)), name);
  }
  const before = resultOf();
  const mended = claiming("mended.ts", "({ rows }) => rows[1]!.trainLoss! < 99");
  const again = await runFlame("resume", out, "--scenario", mended, "--workers", "1");
  assert.equal(again.code, 0, again.err + again.out);
  assert.match(again.out, /holds {2}rows have a loss/);
  const after = resultOf();
  assert.deepEqual(after.made, before.made);
  assert.deepEqual(after.continuedDespite, []);
  assert.equal(after.adapterDigest, before.adapterDigest);
  for (const { name, holds, found } of (await verifyRun(out)).checks)
    assert.notEqual(holds, false, `${name}: ${found}`);
  assert.match((await runFlame("resume", out, "--scenario", mended, "--workers", "1")).out, /has finished already/);
});

test("the result has what the run came to, its record how long that took and how to see it again", async () => {
  const { totals, evaluations } = resultOf();
  const rows = readFileSync(join(out, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const last = rows.at(-1);
  assert.deepEqual(evaluations, last.evaluations);
  assert.equal(totals.virtualTime, last.closedAt);
  assert.equal(totals.uploadBytes, last.uploadBytes);
  assert.equal(
    totals.counted,
    rows.reduce((sum, { counted }) => sum + counted, 0),
  );
  const { seconds, reproduce } = JSON.parse(readFileSync(join(out, "run.json"), "utf8"));
  assert.ok(seconds > 0);
  assert.match(reproduce, /claims\.ts --merge 1$/);
});
