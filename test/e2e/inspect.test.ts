/** `flame inspect`: the published figures from a configuration alone, and weights that are not whole. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { knownShapes } from "../../src/run/package.ts";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";
import { tinyModel } from "../support/tiny-model.ts";

/** OLMoE-1B-7B as its config.json says. */
const olmoe = {
  model_type: "olmoe",
  vocab_size: 50_304,
  hidden_size: 2048,
  intermediate_size: 1024,
  num_hidden_layers: 16,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  num_experts: 64,
  num_experts_per_tok: 8,
  max_position_embeddings: 4096,
};

test("OLMoE-1B-7B's figures follow from its config.json alone", async (t) => {
  const folder = join(temporaryFolder(t), "OLMoE-1B-7B");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), JSON.stringify(olmoe));
  const words = ["inspect", folder, "--rank", "16", "--adapter-bytes", "2"];
  const { code, out } = await runFlame(...words);
  assert.equal(code, 0);
  assert.match(out, /6,919,161,856/);
  assert.match(out, /figures are from config\.json alone/);
  const rows = out
    .split("\n")
    .filter((line) => /^[8421] {2}/.test(line))
    .map((line) => line.split(/ {2,}/).slice(0, 4));
  assert.deepEqual(rows, [
    ["8", "1,282,017,280", "2.358", "301.8"],
    ["4", "879,364,096", "1.552", "198.7"],
    ["2", "678,037,504", "1.150", "147.2"],
    ["1", "577,374,208", "0.948", "121.4"],
  ]);
  assert.equal(out.match(/302 MB/g)?.length, 8, "302 MB each way at every budget");

  const json = JSON.parse((await runFlame(...words, "--json")).out);
  assert.equal(json.stored, null);
  assert.equal(json.lora.perExpert, 9216 * 16);
  assert.equal(json.lora.parameters, 9_437_184 * 16);
  assert.equal(json.budgets[0].downloadBytes, 2 * 9_437_184 * 16);
  const asFile = JSON.parse((await runFlame("inspect", join(folder, "config.json"), "--json")).out);
  assert.equal(asFile.parameters.total, 6_919_161_856);
});

test("weights and memory follow from the form of the base weights, and a machine's pace is measured where that is asked for", async (t) => {
  const formsOf = async (...words: string[]) => JSON.parse((await runFlame("inspect", ...words, "--json")).out).forms;
  const forms = await formsOf("olmoe-1b-7b", "--budget", "8");
  // Bits of a weight, scales included: tables of 2 · 50,304 · 2048 numbers are never narrower than 16.
  const [tables, rest] = [2 * 50_304 * 2048, 6_919_161_856 - 2 * 50_304 * 2048];
  for (const [at, [form, bits]] of Object.entries({ f32: 32, half: 16, int8: 8.5, int4: 4.5 }).entries()) {
    const expected = (tables * Math.max(16, form === "f32" ? 32 : 16) + rest * bits) / 8;
    assert.equal(forms[at].form, form);
    // Vectors, routers and the gaps between pages.
    assert.ok(Math.abs(forms[at].weightBytes / expected - 1) < 2e-3, `${form}: ${forms[at].weightBytes}`);
    assert.equal(forms[at].budgets[0].stepSeconds, null);
  }
  // One matrix is widened at a time: at least an expert's, at most the head.
  const worker: number[] = forms.map(({ budgets }: { budgets: { workerBytes: number }[] }) => budgets[0]!.workerBytes);
  const widened = worker[1]! - worker[0]!;
  assert.ok(widened >= 4 * 2 * 1_024 * 2_048 && widened <= 4 * 50_304 * 2_048, `${widened} bytes`);
  assert.deepEqual(worker.slice(2), [worker[1], worker[1]]);

  const folder = tinyModel(temporaryFolder(t));
  const timed = await formsOf(folder, "--time", "--budget", "1", "--batch", "4");
  for (const { budgets } of timed) assert.ok(budgets[0].stepSeconds > 0);
  const { out } = await runFlame("inspect", folder, "--time", "--budget", "4", "--batch", "1", "--tokens", "3000");
  assert.match(
    out,
    /--base +weights +k +a worker +tokens\/s +3,000 tokens\n.*\nf32 +[\d.]+ kB +4 .*\nhalf .*\nint8 .*\nint4 /,
  );
});

test("the shapes of published models have as many parameters as their papers say", async () => {
  const published: Readonly<Record<string, readonly [total: number, active: number]>> = {
    "mixtral-8x7b": [46.7, 12.9],
    "olmoe-1b-7b": [6.9, 1.3],
    "qwen3-30b-a3b": [30.5, 3.3],
  };
  assert.deepEqual([...knownShapes().keys()], Object.keys(published));
  for (const [name, expected] of Object.entries(published)) {
    const { parameters, budgets } = JSON.parse((await runFlame("inspect", name, "--json")).out);
    const found = [parameters.total, budgets[0].activeParameters];
    // Billions to one decimal, which Qwen's paper cuts off and the others round.
    for (const [at, billions] of expected.entries()) {
      assert.ok(Math.abs(found[at] / 1e9 - billions) < 0.06, `${name}: ${found[at]}, published ${billions} billion`);
    }
  }
});

test("weights that are there are checked against the configuration", async (t) => {
  const whole = await runFlame("inspect", tinyModel(temporaryFolder(t)));
  assert.equal(whole.code, 0);
  assert.match(whole.out, /in 1 file: 45 tensors, F32, all as expected/);
  const missing = "model.layers.1.mlp.experts.2.up_proj.weight";
  const broken = await runFlame("inspect", tinyModel(temporaryFolder(t), missing));
  assert.equal(broken.code, 2);
  assert.match(broken.err, new RegExp(`${missing.replaceAll(".", "\\.")} is missing, expected shape \\[8, 16\\]`));
});

test("a budget beyond the model's own and a folder that is no model are refused with the reason", async (t) => {
  const folder = tinyModel(temporaryFolder(t));
  const tooMany = await runFlame("inspect", folder, "--budget", "4,5");
  assert.equal(tooMany.code, 2);
  assert.match(tooMany.err, /--budget is 5, but the model has 4 experts/);
  const nowhere = await runFlame("inspect", join(folder, "elsewhere"));
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.err, /config\.json does not exist/);
});
