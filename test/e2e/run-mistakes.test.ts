/** What a user sees who makes a mistake: the field or the line, what was expected, what came, and the exit code. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { shape, threeTiers } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const model = tinyModel(folder);

/** A scenario file whose fields are good, except those that are given. */
function scenario(changes: Readonly<Record<string, unknown>> = {}): string {
  const path = join(folder, "scenario.json");
  const fields = {
    name: "mistaken",
    model,
    lora: { rank: 2, alpha: 4 },
    data: { source: { type: "instructions", examples: 200 }, maxTokens: 96 },
    fleet: threeTiers,
    rounds: { count: 1, cohort: 4, deadline: 60_000 },
    ...changes,
  };
  writeFileSync(path, JSON.stringify(fields));
  return path;
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function mistake(code: number, message: RegExp, ...words: string[]): Promise<void> {
  const said = await runFlame("run", ...words);
  assert.equal(said.code, code, said.err);
  assert.match(said.err, message);
  assert.ok(!/\n\s+at /.test(said.err), `a mistake needs no stack:\n${said.err}`);
}

test("an unknown field", () =>
  mistake(
    2,
    /scenario "mistaken": rounds\.cohrot is not a field that exists here; did you mean cohort\?/,
    scenario({
      rounds: { count: 1, cohort: 4, cohrot: 4 },
    }),
  ));

test("more experts per token than the model has", () =>
  mistake(
    2,
    /fleet\[0\]\.budget is 12, but the model has 4 experts/,
    scenario({
      fleet: [{ ...threeTiers[0], budget: 12 }, ...threeTiers.slice(1)],
    }),
  ));

test("a partition for more clients than there are examples", () =>
  mistake(
    2,
    /data\.partition deals 18 training examples to 24 clients/,
    scenario({
      data: { source: { type: "instructions", examples: 20 } },
    }),
  ));

test("more clients than a user's file has examples", async () => {
  const lines = Array.from({ length: 10 }, (_, at) => JSON.stringify({ instruction: `say ${at}`, output: `${at}` }));
  await mistake(
    2,
    /24 clients, but there are only \d+ training examples/,
    scenario(),
    "--data",
    file("few.jsonl", lines.join("\n")),
  );
});

test("a line that is not JSON", () =>
  mistake(
    2,
    /broken\.jsonl.*line 2/,
    scenario(),
    "--data",
    file("broken.jsonl", '{"instruction":"a","output":"b"}\n{"instr'),
  ));

test("an empty file", () =>
  mistake(2, /empty\.jsonl.*empty|no examples/, scenario(), "--data", file("empty.jsonl", "")));

test("a file that does not exist", () =>
  mistake(2, /nowhere\.jsonl/, scenario(), "--data", join(folder, "nowhere.jsonl")));

test("a base model with a missing tensor", async () => {
  const broken = tinyModel(join(folder, "broken"), "model.layers.1.mlp.gate.weight");
  await mistake(
    2,
    /tensor model\.layers\.1\.mlp\.gate\.weight is missing, expected shape \[4, 16\]/,
    scenario(),
    "--model",
    broken,
  );
});

test("a base model that is not there", () =>
  mistake(2, /model is "\S+nowhere", but \S+nowhere.config\.json does not exist/, scenario(), "--model", "nowhere"));

test("an output folder that cannot be written", () =>
  mistake(
    1,
    /cannot write to output folder .*: a part of the path is a file/,
    scenario(),
    "--out",
    join(file("plain", ""), "run"),
  ));

test("an output folder that holds a run already", async () => {
  const out = join(folder, "taken");
  const timing = { timingOnly: true, model: shape, data: { sizes: { examplesPerClient: 10, tokensPerExample: 20 } } };
  assert.equal((await runFlame("run", scenario(timing), "--out", out, "--quiet")).code, 0);
  await mistake(
    2,
    /already holds a run; resume it with "flame resume .*", or choose another/,
    scenario(timing),
    "--out",
    out,
  );
});

test("a scenario that does not exist", () => mistake(2, /there is no scenario nowhere/, "nowhere"));

test("a scenario file that exports none", () =>
  mistake(2, /has no scenario: expected "export default/, file("none.ts", "export const a = 1;")));

test("an engine that does not exist", () =>
  mistake(2, /--engine is abacus, expected one of auto, onnx/, scenario(), "--engine", "abacus"));

test("clients who share a call, and are none or not a number", async () => {
  for (const merge of ["0", "many", "-4", "2.5"]) {
    const said = await runFlame("run", "quickstart", "--merge", merge);
    assert.equal(said.code, 2, said.err);
    assert.match(said.err, /option '--merge <clients>' argument '.*' is invalid.*expected a whole number/);
  }
});

test("an option that does not exist", async () => {
  const said = await runFlame("run", "quickstart", "--roun", "3");
  assert.equal(said.code, 2);
  assert.match(said.err, /unknown option '--roun'/);
});

test("a claim that does not hold is no mistake of the user, and has an exit code of its own", async () => {
  const out = join(folder, "claims");
  const timing = { timingOnly: true, model: shape, data: { sizes: { examplesPerClient: 10, tokensPerExample: 20 } } };
  const expect = [{ type: "finishesWithin", time: 1 }];
  const said = await runFlame("run", scenario({ ...timing, expect }), "--out", out);
  assert.equal(said.code, 3, said.err);
  assert.match(said.out, /fails {2}finishes within 1ms of virtual time/);
  assert.ok(readdirSync(out).includes("report.html"));
});
