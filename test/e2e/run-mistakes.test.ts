/** What a user sees who makes a mistake: the field or the line, what was expected, what came, and the exit code. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { engineFault } from "../../src/engine/create.ts";
import { run } from "../../src/run/run.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { shape, threeTiers, timingOnly } from "../support/scenarios.ts";
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

test("a scenario that does not exist: those that do are named", async () => {
  await mistake(
    2,
    /there is no scenario nowhere\n.*expected a \.ts, .* or one of .*paper\/clients.*quickstart/,
    "nowhere",
  );
  await mistake(2, /there is no scenario quickstrat; did you mean quickstart\?/, "quickstrat");
});

const twoLines = (text: string): boolean => text.trimEnd().split("\n").length === 2;

test("a folder without a run, a file that is no program and one that throws take two lines each", async () => {
  const broken = join(folder, "broken-code");
  mkdirSync(broken);
  writeFileSync(join(broken, "syntax.ts"), 'import { x } frm "y";\nexport default 3;\n');
  writeFileSync(join(broken, "throws.ts"), "const a: { b?: { c: number } } = {};\nexport default a.b!.c;\n");
  writeFileSync(join(broken, "imports.ts"), 'import { flam } from "flame-sim";\nexport default flam;\n');
  for (const [name, message] of [
    ["", /is a folder without a run; of its files, name one of imports\.ts, syntax\.ts, throws\.ts/],
    ["syntax.ts", /syntax\.ts cannot be loaded\n.*syntax\.ts:1:13: Expected/],
    ["throws.ts", /throws\.ts cannot be loaded\n.*undefined.*throws\.ts:2/],
    ["imports.ts", /imports\.ts cannot be loaded\n.*flam/],
  ] as const) {
    const said = await runFlame("run", join(broken, name));
    assert.equal(said.code, 2, said.err);
    assert.match(said.err, message);
    assert.ok(twoLines(said.err), said.err);
  }
});

test("mistakes in options of a strategy, in other fields and in their names are listed together", async () => {
  const path = file(
    "three.ts",
    `import { defineScenario, dirichlet, flame, instructions, uniform } from "flame-sim";
    export default defineScenario({
      name: "three",
      data: { source: instructions({ examples: 200 }), partition: dirichlet({ alpha: -1 }) },
      fleet: [{ name: "phone", clients: 4, budget: 1, tokensPerSecond: 100, uplink: 1_000 }],
      rounds: { count: 1, cohrt: 2, cohort: 2 } as never,
      strategy: flame({ frequencyExponent: 99 }),
    });`,
  );
  const said = await runFlame("run", path);
  assert.equal(said.code, 2, said.err);
  assert.match(said.err, /scenario "three" has 3 mistakes/);
  for (const field of ["data.partition.alpha is -1", "rounds.cohrt", "strategy.frequencyExponent is 99"]) {
    assert.ok(said.err.includes(field), said.err);
  }
});

test("a scenario file that exports none", () =>
  mistake(2, /has no scenario: expected "export default/, file("none.ts", "export const a = 1;")));

test("an engine that does not exist", () =>
  mistake(2, /--engine is abacus, expected one of auto, onnx/, scenario(), "--engine", "abacus"));

test("a mistake in one field does not hide that others contradict each other", async () => {
  const said = await runFlame("run", scenario({ evaluateEvery: 0, seeds: 4, rounds: { count: 1, cohort: 99 } }));
  assert.equal(said.code, 2, said.err);
  assert.match(said.err, /scenario "mistaken" has 3 mistakes/);
  for (const part of [
    "evaluateEvery is 0",
    "seeds is not a field",
    "rounds.cohort is 99, but the fleet has 24 clients",
  ]) {
    assert.ok(said.err.includes(part), said.err);
  }
});

test("an engine whose library does not load is refused at once, in the words of flame doctor", async () => {
  const fault = engineFault("onnx-cuda");
  // Where CUDA works there is nothing to refuse, and doctor says so too.
  if (fault === null) return assert.match((await runFlame("doctor")).out, /^ok +onnx-cuda/m);
  const out = join(folder, "cuda");
  const said = await runFlame("run", scenario(), "--engine", "onnx-cuda", "--out", out);
  assert.equal(said.code, 2, said.err);
  assert.ok(said.err.includes(`--engine is onnx-cuda, which does not work here: ${fault}`), said.err);
  assert.ok(!existsSync(out), "nothing is left behind");
  const { out: found } = await runFlame("doctor");
  assert.match(found, /ok +onnx +onnxruntime-node \d/);
  assert.ok(
    found.split("\n").some((line) => line.startsWith("none onnx-cuda") && line.endsWith(fault)),
    found,
  );
});

test("no workers, or an option that a run does not have, leave nothing behind", async () => {
  const out = join(folder, "unborn");
  const said = await runFlame("run", scenario(), "--workers", "0", "--out", out);
  assert.equal(said.code, 2, said.err);
  assert.match(said.err, /workers is 0, expected at least 1/);
  await assert.rejects(run(timingOnly(), { out, workers: 0 }), /workers is 0, expected at least 1/);
  const mistaken: object = { out, folder: out };
  await assert.rejects(
    run(timingOnly(), mistaken),
    /run: folder is no option of a run, expected some of workers, engine/,
  );
  assert.ok(!existsSync(out));
});

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
  const quiet = await runFlame("run", scenario({ ...timing, expect }), "--out", join(folder, "quiet"), "--quiet");
  assert.match(quiet.out, /^fails .*\nfinished: 1 round, .*\n\S+quiet\/report\.html\n$/);
  assert.ok(readdirSync(out).includes("report.html"));
});
