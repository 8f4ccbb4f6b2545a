/** `flame synthesize`: models of a given shape with random weights, whole or not there. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { requireSpace } from "../../src/base/disk.ts";
import { MachineError } from "../../src/base/errors.ts";
import { loadHuggingFaceTokenizer } from "../../src/data/hf-tokenizer.ts";
import { byteTokenizer } from "../../src/data/tokenizer.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { parseHuggingFaceConfig } from "../../src/model/formats/hf-config.ts";
import { byteTokenizerFiles } from "../../src/pretraining/byte-tokenizer.ts";
import { synthesize } from "../../src/pretraining/synthetic.ts";
import { run } from "../../src/run/run.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { training } from "../support/scenarios.ts";
import { onThisThread } from "../support/tabular-run.ts";
import { tinyConfig } from "../support/tiny-model.ts";

const parent = folderOfFile();
const shape = join(parent, "shape");
mkdirSync(shape);
writeFileSync(join(shape, "config.json"), JSON.stringify(tinyConfig));
const config = parseHuggingFaceConfig(tinyConfig, "tiny").model;

const empty = (name: string) => {
  const folder = join(parent, name);
  mkdirSync(folder);
  return folder;
};
const bytesIn = (folder: string) =>
  new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "hex")]));
function valuesOf(folder: string, name: string): Float32Array {
  const { weights, close } = loadCheckpoint(folder);
  const values = new Float32Array(weights.tensors.get(name)!.size);
  weights.readFloats(name, values);
  close();
  return values;
}

test("a model like another one is trained like any model", async () => {
  const to = join(parent, "model");
  const { code, out, err } = await runFlame("synthesize", "--like", shape, "--to", to);
  assert.equal(code, 0, err);
  assert.match(out, /random weights in the shape of .*shape, 2 layers, 13,840 parameters, 27\.7 kB/);
  assert.match(err, /27\.7 kB of 27\.7 kB .*\/s .*left/);
  const inspected = await runFlame("inspect", to);
  assert.match(inspected.out, /45 tensors, BF16, all as expected/);
  const scenario = training(to, { rounds: { count: 1, cohort: 2, minUpdates: 1 } });
  const { rows } = await run(scenario, { pool: onThisThread, out: null });
  assert.ok(rows.at(-1)!.counted > 0 && Number.isFinite(rows.at(-1)!.trainLoss));
});

test("the bytes depend on seed and shape alone, and a layer does not depend on how many there are", async () => {
  const [first, second, other, short] = ["a", "b", "c", "d"].map(empty) as [string, string, string, string];
  await synthesize(first, config, { seed: 1 });
  await synthesize(second, config, { seed: 1 });
  await synthesize(other, config, { seed: 2 });
  await synthesize(short, { ...config, layers: 1 }, { seed: 1 });
  assert.deepEqual(bytesIn(second), bytesIn(first));
  const name = "model.layers.0.mlp.experts.1.up_proj.weight";
  assert.notDeepEqual(valuesOf(other, name), valuesOf(first, name));
  assert.deepEqual(valuesOf(short, name), valuesOf(first, name));
  assert.notDeepEqual(valuesOf(first, name.replace("layers.0", "layers.1")), valuesOf(first, name));
  // As `openssl enc -aes-128-ctr` and Python's NormalDist().inv_cdf have it.
  assert.deepEqual(
    [...valuesOf(first, name).subarray(0, 3)].map((value) => value.toPrecision(3)),
    ["0.00385", "0.0146", "-0.0171"],
  );
});

test("matrices are normal with deviation 0.02, cut at three of them; norms are one", async () => {
  const folder = empty("normal");
  await synthesize(folder, { ...config, vocabulary: 20_000 }, { seed: 1 });
  const values = valuesOf(folder, "model.embed_tokens.weight");
  const moment = (power: number) => values.reduce((sum, value) => sum + (value / 0.02) ** power, 0) / values.length;
  // Of a normal cut at ±3: variance 0.9733, fourth moment 2.680; 320,000 draws know them to 0.3 and 0.5 %.
  assert.ok(Math.abs(moment(1)) < 0.01);
  assert.ok(Math.abs(moment(2) - 0.9733) < 0.01);
  assert.ok(Math.abs(moment(4) - 2.68) < 0.06);
  assert.ok(values.every((value) => Math.abs(value) <= 0.0602));
  assert.ok(valuesOf(folder, "model.layers.1.self_attn.q_norm.weight").every((value) => value === 1));
});

test("shards hold what one file would, with an index as transformers writes it", async () => {
  const [whole, parts] = ["whole", "parts"].map(empty) as [string, string];
  await synthesize(whole, config, { seed: 1 });
  await synthesize(parts, config, { seed: 1, shardBytes: 10_000 });
  const files = readdirSync(parts).filter((name) => name.endsWith(".safetensors"));
  assert.deepEqual(
    files,
    ["00001", "00002", "00003"].map((at) => `model-${at}-of-00003.safetensors`),
  );
  const index = JSON.parse(readFileSync(join(parts, "model.safetensors.index.json"), "utf8"));
  assert.equal(index.metadata.total_size, 2 * 13_840);
  for (const name of Object.keys(index.weight_map)) assert.deepEqual(valuesOf(parts, name), valuesOf(whole, name));
});

test("a relative has its own names and configuration", async () => {
  const folder = empty("relative");
  const mixtral = { ...tinyConfig, model_type: "mixtral", num_local_experts: 4, num_experts: undefined };
  await synthesize(folder, parseHuggingFaceConfig(JSON.parse(JSON.stringify(mixtral)), "mixtral").model, { seed: 1 });
  assert.match((await runFlame("inspect", folder)).out, /tensors, BF16, all as expected/);
  assert.equal(valuesOf(folder, "model.layers.1.block_sparse_moe.experts.3.w2.weight").length, 16 * 8);
});

test("whoever is stopped leaves nothing, and what a killed synthesis left is removed", async () => {
  const folder = empty("stopped");
  const left = join(folder, "model-00001-of-00009.safetensors.partial");
  writeFileSync(left, "half");
  const stop = new AbortController();
  const onProgress = (done: number) => {
    assert.ok(!existsSync(left));
    if (done > 10_000) stop.abort("enough");
  };
  const stopped = synthesize(folder, config, { seed: 1, shardBytes: 9_000, signal: stop.signal, onProgress });
  await assert.rejects(stopped, (reason) => reason === "enough");
  assert.deepEqual(readdirSync(folder), []);
});

test("a folder that holds something, a shape nobody knows and a disk without room are refused", async () => {
  const full = empty("full");
  writeFileSync(join(full, "config.json"), "dear to me");
  const refused = async (...words: string[]) => {
    const { code, err } = await runFlame("synthesize", ...words);
    assert.equal(code, 2);
    return err;
  };
  assert.match(await refused("--like", shape, "--to", full), /full already holds config\.json/);
  assert.equal(readFileSync(join(full, "config.json"), "utf8"), "dear to me");
  const to = join(parent, "not-made");
  assert.match(
    await refused("--like", "olmo", "--to", to),
    /--like olmo: expected mixtral-8x7b, olmoe-1b-7b.*, or a folder/,
  );
  assert.match(await refused("--like", "olmoe-1b-7b", "--layers", "17", "--to", to), /--layers is 17, .* has 16/);
  assert.ok(!existsSync(to));
  const tooMuch = () => requireSpace(parent, 1e18, "this");
  assert.throws(
    tooMuch,
    (error) => error instanceof MachineError && /takes 1000000 TB, but the disk/.test(error.message),
  );
});

test("Hugging Face's tokenizer of bytes has the ids of ours", async () => {
  const folder = empty("tokenizer");
  for (const [name, text] of byteTokenizerFiles()) writeFileSync(join(folder, name), text);
  const read = await loadHuggingFaceTokenizer(folder);
  const { pad, end, specials } = byteTokenizer;
  assert.deepEqual([read.pad, read.end, read.specials], [pad, end, specials]);
  for (const text of ["", "a  b\r\n\tc", "Grüße, 名前 👩‍👩‍👧 \u0000\u00ad\u007f", "<end><pad> <response>"]) {
    assert.deepEqual(read.encode(text), byteTokenizer.encode(text), JSON.stringify(text));
    assert.equal(read.decode(read.encode(text)), text);
  }
});
