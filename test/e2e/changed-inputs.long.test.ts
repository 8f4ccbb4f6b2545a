/** A run knows what it was made from: whoever goes on with it, uses it or verifies it hears of what has changed since. */
import assert from "node:assert/strict";
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { file } from "../../src/data/source.ts";
import { run } from "../../src/run/run.ts";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";
import { interruptAfter } from "../support/run-folders.ts";
import { timingOnly, training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

let folder = "";
let model = "";
let data = "";
/** Of a run that has finished, and of one that was interrupted. */
let whole = "";
let half = "";
const cleanUps: (() => void)[] = [];
const { XDG_CACHE_HOME } = process.env;

const rows = (answer: string) =>
  Array.from({ length: 60 }, (_, i) => ({ instruction: `Copy ${i}.`, input: "", output: i === 7 ? answer : `${i}` }))
    .map((row) => `${JSON.stringify(row)}\n`)
    .join("");

before(async () => {
  folder = temporaryFolder({ after: (action) => void cleanUps.push(action as () => void) });
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  model = tinyModel(folder);
  data = join(folder, "data.jsonl");
  writeFileSync(data, rows("seven"));
  const scenario = training(model, {
    data: { source: file(data), partition: { type: "iid" }, maxTokens: 64 },
    rounds: { count: 3, cohort: 2, deadline: 60_000 },
    checkpoints: { every: 1 },
    evaluateAt: [1],
    evaluationExamples: 4,
    rescaler: { learn: false },
  });
  whole = join(folder, "whole");
  const { diagnostics } = await run(scenario, { out: whole, workers: 1 });
  half = join(folder, "half");
  const signal = interruptAfter(Math.floor(0.7 * diagnostics.events!));
  await run(scenario, { out: half, workers: 1, signal });
});
after(() => {
  if (XDG_CACHE_HOME === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = XDG_CACHE_HOME;
  for (const cleanUp of cleanUps) cleanUp();
});

let copies = 0;
function copyOf(original: string): string {
  const copy = join(folder, `copy-${copies++}`);
  cpSync(original, copy, { recursive: true });
  return copy;
}

/** Does something while a file is another, and puts it back. */
async function changed(path: string, change: (bytes: Buffer) => void, action: () => Promise<void>): Promise<void> {
  const bytes = readFileSync(path);
  const other = Buffer.from(bytes);
  change(other);
  writeFileSync(path, other);
  try {
    await action();
  } finally {
    writeFileSync(path, bytes);
  }
}

const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

const weights = () => join(model, "model.safetensors");
/** "seven" becomes "Seven". */
const oneLetter = (bytes: Buffer) => void bytes.write("S", bytes.indexOf("seven"));
const oneBit = (bytes: Buffer) => {
  bytes[bytes.length - 2]! ^= 1;
};

for (const [what, path, change] of [
  ["data file", () => data, oneLetter],
  ["base model", weights, oneBit],
] as const) {
  test(`a run whose ${what} has changed is refused by name; forced, it says so for ever`, async () => {
    const out = copyOf(half);
    await changed(path(), change, async () => {
      const refused = await runFlame("resume", out, "--workers", "1");
      assert.equal(refused.code, 2, refused.err);
      assert.match(
        refused.err,
        new RegExp(`its ${what} \\S+ has changed since: expected [0-9a-f]{16}…, found [0-9a-f]{16}…`),
      );
      const forced = await runFlame("resume", out, "--force", "--workers", "1");
      assert.equal(forced.code, 0, forced.err);
    });
    const mark = new RegExp(`its ${what} .* has changed since`);
    for (const name of ["run.json", "result.json"]) assert.match(json(join(out, name)).continuedDespite.join(), mark);
    assert.match(readFileSync(join(out, "report.html"), "utf8"), /Continued although its .* has changed since/);
    assert.match((await runFlame("verify", out)).out, new RegExp(`continued with --force or elsewhere: .*${what}`));
    const evaluated = await runFlame("eval", "--adapter", out, "--budget", "1", "--examples", "2");
    assert.match(evaluated.err, new RegExp(`continued with --force or elsewhere: .*${what}`));
    // Whoever takes the mark away breaks the seal.
    const result = readFileSync(join(out, "result.json"), "utf8");
    writeFileSync(join(out, "result.json"), result.replace(/"continuedDespite": \[[^\]]*\]/, '"continuedDespite": []'));
    assert.match((await runFlame("verify", out)).out, /fails {2}the files are those.*: result\.json has been changed/);
  });
}

test("verify, eval and generate say which input of a finished run has changed", async () => {
  await changed(data, oneLetter, async () => {
    const verified = await runFlame("verify", whole);
    assert.equal(verified.code, 0, verified.out);
    assert.match(verified.out, /its data file \S+data\.jsonl has changed since/);
    const evaluated = await runFlame("eval", "--adapter", whole, "--budget", "1", "--examples", "2", "--json");
    assert.match(evaluated.err, /its data file has changed since/);
    assert.match(JSON.parse(evaluated.out).remarks.join(), /its data file has changed since/);
  });
  await changed(weights(), oneBit, async () => {
    assert.match((await runFlame("verify", whole)).out, /its base model \S+tiny-model has changed since/);
    const said = await runFlame("generate", "--adapter", whole, "--prompt", "Copy 1.", "--max-tokens", "2");
    assert.match(said.err, /its base model \S+tiny-model has changed since/);
  });
  const said = await runFlame("verify", whole);
  assert.doesNotMatch(said.out, /has changed|not compared/);
  const evaluated = await runFlame("eval", "--adapter", whole, "--budget", "1", "--examples", "2", "--json");
  assert.deepEqual(JSON.parse(evaluated.out).remarks, []);
});

test("an input that is gone is not held against a run, and it is said that nobody compared it", async () => {
  const bytes = readFileSync(data);
  rmSync(data);
  try {
    const said = await runFlame("verify", whole);
    assert.equal(said.code, 0, said.out);
    assert.match(said.out, /not compared with what the run was made from: cannot read .*data\.jsonl/);
  } finally {
    writeFileSync(data, bytes);
  }
});

test("a tokenizer that has changed is named", async () => {
  const out = join(folder, "with-tokenizer");
  const other = join(folder, "model-with-tokenizer");
  cpSync(model, other, { recursive: true });
  const vocabulary = Object.fromEntries(Array.from({ length: 26 }, (_, i) => [String.fromCharCode(97 + i), i]));
  const tokenizer = {
    version: "1.0",
    added_tokens: [{ id: 26, content: "<|endoftext|>", special: true }],
    normalizer: { type: "Lowercase" },
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    model: { type: "BPE", vocab: vocabulary, merges: [] },
  };
  const path = join(other, "tokenizer.json");
  writeFileSync(path, JSON.stringify(tokenizer));
  const scenario = timingOnly({
    model: other,
    data: { source: file(data), partition: { type: "iid" }, maxTokens: 96 },
    checkpoints: { every: 1 },
  });
  await run(scenario, { out, signal: interruptAfter(60) });
  writeFileSync(path, JSON.stringify({ ...tokenizer, normalizer: null }));
  const said = await runFlame("resume", out);
  assert.equal(said.code, 2, said.out);
  assert.match(said.err, /its tokenizer has changed since/);
});

test("data are hashed as they are read: byte-order mark, blank lines and all", async () => {
  const { createHash } = await import("node:crypto");
  const path = join(folder, "marked.jsonl");
  const text = `\ufeff\n${rows("x")}\n\n`;
  writeFileSync(path, text);
  const out = join(folder, "marked");
  await run(
    timingOnly({ model, data: { source: file(path), partition: { type: "iid" } }, rounds: { count: 1, cohort: 2 } }),
    {
      out,
    },
  );
  assert.equal(json(join(out, "result.json")).made.data, createHash("sha256").update(text).digest("hex"));
});

for (const [what, words] of [
  ["exported", (run: string, to: string) => ["export", run, "--to", to]],
  ["merged", (run: string, to: string) => ["export", run, "--to", to, "--merge"]],
  ["asked", (run: string) => ["generate", "--adapter", run, "--prompt", "Copy 1.", "--max-tokens", "2"]],
  ["evaluated", (run: string) => ["eval", "--adapter", run, "--examples", "2"]],
] as const) {
  test(`an adapter that was damaged on disk is not ${what}`, async () => {
    const out = copyOf(whole);
    await changed(join(out, "adapter", "adapter_model.safetensors"), oneBit, async () => {
      const said = await runFlame(...words(out, join(folder, `to-${what}`)));
      assert.equal(said.code, 2, said.out);
      assert.match(said.err, /is not as its run left it: adapter\/adapter_model\.safetensors has been changed/);
    });
    const good = await runFlame(...words(out, join(folder, `good-${what}`)));
    assert.equal(good.code, 0, good.err);
  });
}

test("the same scenario gives the same result and report from any folder, and its relative paths are found from any", async () => {
  const [here, there] = [join(folder, "a"), join(folder, "b")];
  for (const path of [here, there]) mkdirSync(path);
  copyFileSync(data, join(here, "data.jsonl"));
  const scenario = timingOnly({
    model: "../tiny-model",
    data: { source: file("data.jsonl"), partition: { type: "iid" } },
    checkpoints: { every: 1 },
  });
  const { scenarioToJson } = await import("../../src/scenario/define.ts");
  writeFileSync(join(here, "scenario.json"), scenarioToJson(scenario));
  const before = process.cwd();
  try {
    process.chdir(here);
    assert.equal((await runFlame("run", "scenario.json", "--out", "r")).code, 0);
    await run(scenario, { out: "stopped", signal: interruptAfter(60) });
    process.chdir(there);
    const again = await runFlame("verify", "../a/r", "--rerun");
    assert.equal(again.code, 0, again.out + again.err);
    assert.doesNotMatch(again.out, /not compared/);
    const resumed = await runFlame("resume", "../a/stopped");
    assert.equal(resumed.code, 0, resumed.err);
    // Where the data lie is found here as well, when the whole project has moved.
    copyFileSync(join(here, "data.jsonl"), join(there, "data.jsonl"));
    assert.equal((await runFlame("run", "../a/scenario.json", "--out", "s")).code, 0);
  } finally {
    process.chdir(before);
  }
  for (const name of ["result.json", "report.html", "timeline.json"]) {
    assert.equal(readFileSync(join(here, "r", name), "utf8"), readFileSync(join(there, "s", name), "utf8"), name);
  }
  for (const name of ["result.json", "events.jsonl"]) {
    assert.equal(readFileSync(join(here, "r", name), "utf8"), readFileSync(join(here, "stopped", name), "utf8"), name);
  }
});
