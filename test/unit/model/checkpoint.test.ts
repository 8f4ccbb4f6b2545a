import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { baseWeightShapes } from "../../../src/model/base-weights.ts";
import { loadCheckpoint } from "../../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile } from "../../../src/model/formats/prepare-weights.ts";
import { writeCheckpoint } from "../../../src/model/formats/write-checkpoint.ts";
import { temporaryFolder } from "../../support/folders.ts";
import {
  fuseExperts,
  type PlainConfig,
  type PlainTensor,
  prepared,
  randomTensors,
  smallConfig,
  writeFolder,
} from "../../support/model-folder.ts";
import { readAll } from "../../support/small-model.ts";

/** Every switch that changes which tensors there are or how they are cut. */
const variants: Record<string, PlainConfig> = {
  plain: smallConfig,
  "grouped queries": { ...smallConfig, num_key_value_heads: 2 },
  "one key head": { ...smallConfig, num_key_value_heads: 1 },
  tied: { ...smallConfig, tie_word_embeddings: true },
  biased: { ...smallConfig, attention_bias: true, num_key_value_heads: 2 },
};

async function converted(folder: string, cache: string) {
  const weights = await prepared(folder, cache);
  const file = new BaseWeightsFile(weights);
  try {
    return { weights, tensors: readAll(file) };
  } finally {
    file.close();
  }
}

/** The executor layout by its definition, element by element. */
function expectedTensors(config: PlainConfig, source: ReadonlyMap<string, PlainTensor>): Map<string, number[]> {
  const { vocab_size: v, hidden_size: d, intermediate_size: f, num_experts: experts } = config;
  const kv = (d / config.num_attention_heads) * config.num_key_value_heads;
  const values = (name: string) => source.get(name)!.values;
  const expected = new Map<string, number[]>();
  const matrix = (inputs: number, outputs: number, at: (i: number, o: number) => number) =>
    Array.from({ length: inputs * outputs }, (_, x) => at(Math.floor(x / outputs), x % outputs));
  const embed = values("model.embed_tokens.weight");
  const head = config.tie_word_embeddings ? embed : values("lm_head.weight");
  expected.set("embed", [...embed]);
  expected.set(
    "head",
    matrix(d, v, (i, o) => head[o * d + i]!),
  );
  expected.set("norm", [...values("model.norm.weight")]);
  for (let l = 0; l < config.num_hidden_layers; l++) {
    const of = (name: string) => values(`model.layers.${l}.${name}`);
    const set = (name: string, list: Iterable<number>) => expected.set(`layers.${l}.${name}`, [...list]);
    set("inputNorm", of("input_layernorm.weight"));
    set("postNorm", of("post_attention_layernorm.weight"));
    const parts = ["q", "k", "v"].map((name) => of(`self_attn.${name}_proj.weight`));
    set(
      "qkv",
      matrix(d, d + 2 * kv, (i, o) => {
        const [part, row] = o < d ? [0, o] : o < d + kv ? [1, o - d] : [2, o - d - kv];
        return parts[part]![row * d + i]!;
      }),
    );
    if (config.attention_bias) {
      set(
        "qkvBias",
        ["q", "k", "v"].flatMap((name) => [...of(`self_attn.${name}_proj.bias`)]),
      );
      set("oBias", of("self_attn.o_proj.bias"));
    }
    set("qNorm", of("self_attn.q_norm.weight"));
    set("kNorm", of("self_attn.k_norm.weight"));
    set(
      "o",
      matrix(d, d, (i, o) => of("self_attn.o_proj.weight")[o * d + i]!),
    );
    set(
      "router",
      matrix(d, experts, (i, o) => of("mlp.gate.weight")[o * d + i]!),
    );
    const gateUp: number[] = [];
    const down: number[] = [];
    for (let e = 0; e < experts; e++) {
      const expert = (name: string) => of(`mlp.experts.${e}.${name}_proj.weight`);
      for (let i = 0; i < d; i++) {
        for (let o = 0; o < f; o++) gateUp.push(expert("gate")[o * d + i]!);
        for (let o = 0; o < f; o++) gateUp.push(expert("up")[o * d + i]!);
      }
      for (let i = 0; i < f; i++) for (let o = 0; o < d; o++) down.push(expert("down")[o * f + i]!);
    }
    set("gateUp", gateUp);
    set("down", down);
  }
  return expected;
}

for (const [name, config] of Object.entries(variants)) {
  test(`a checkpoint (${name}) becomes the executor layout by its definition`, async (context) => {
    const folder = temporaryFolder(context);
    const source = randomTensors(config);
    writeFolder(join(folder, "model"), config, source);
    const { weights, tensors } = await converted(join(folder, "model"), join(folder, "cache"));
    const expected = expectedTensors(config, source);
    assert.deepEqual([...tensors.keys()].sort(), [...expected.keys()].sort());
    for (const [tensor, values] of expected) assert.deepEqual([...tensors.get(tensor)!], values, tensor);
    assert.deepEqual(
      [...weights.tensors].map(([tensor, { shape }]) => [tensor, shape]),
      [...baseWeightShapes(weights.config)],
    );
    assert.equal(statSync(weights.path).size, weights.bytes);
    for (const { offset } of weights.tensors.values()) assert.equal(offset % 4096, 0);
  });

  test(`base weights (${name}) written as a folder come back bit for bit`, async (context) => {
    const folder = temporaryFolder(context);
    const source = randomTensors(config, 5);
    writeFolder(join(folder, "model"), config, source);
    const { weights } = await converted(join(folder, "model"), join(folder, "cache"));
    const file = new BaseWeightsFile(weights);
    writeCheckpoint(join(folder, "copy"), file, { endTokens: [10], padToken: 1 });
    file.close();
    const original = loadCheckpoint(join(folder, "model"));
    const copy = loadCheckpoint(join(folder, "copy"));
    assert.deepEqual(copy.description, original.description);
    assert.deepEqual([...copy.weights.tensors.keys()].sort(), [...source.keys()].sort());
    for (const [tensor, { shape, values }] of source) {
      assert.deepEqual(copy.weights.tensors.get(tensor)!.shape, shape);
      const got = new Float32Array(values.length);
      copy.weights.readFloats(tensor, got);
      assert.deepEqual(got, values, tensor);
    }
    original.close();
    copy.close();
    assert.equal((await prepared(join(folder, "copy"), join(folder, "cache"))).digest, weights.digest);
  });
}

test("fused experts, single experts and any sharding are one model", async (context) => {
  const folder = temporaryFolder(context);
  const source = randomTensors(smallConfig);
  writeFolder(join(folder, "single"), smallConfig, source);
  writeFolder(join(folder, "sharded"), smallConfig, source, 4);
  writeFolder(join(folder, "fused"), smallConfig, fuseExperts(source, smallConfig));
  const cache = join(folder, "cache");
  const [single, sharded, fused] = [
    await converted(join(folder, "single"), cache),
    await converted(join(folder, "sharded"), cache),
    await converted(join(folder, "fused"), cache),
  ];
  assert.equal(sharded.weights.digest, single.weights.digest);
  for (const [name, values] of single.tensors) assert.deepEqual(fused.tensors.get(name), values, name);
});

test("stored in 16 bits every weight is within half a unit of the last place", async (context) => {
  const folder = temporaryFolder(context);
  writeFolder(join(folder, "model"), smallConfig, randomTensors(smallConfig));
  const { weights, tensors } = await converted(join(folder, "model"), join(folder, "cache"));
  const file = new BaseWeightsFile(weights);
  for (const [dtype, precision] of [
    ["BF16", 2 ** -8],
    ["F16", 2 ** -11],
  ] as const) {
    writeCheckpoint(join(folder, dtype), file, { dtype });
    const narrow = await converted(join(folder, dtype), join(folder, "cache"));
    for (const [name, values] of tensors) {
      for (const [i, value] of values.entries()) {
        const got = narrow.tensors.get(name)![i]!;
        // Relative to the value; below 2⁻¹⁴ float16 has a fixed step of 2⁻²⁴.
        assert.ok(Math.abs(got - value) <= Math.max(Math.abs(value) * precision, 2 ** -25), `${name}[${i}]`);
      }
    }
  }
  file.close();
});

test("missing, unexpected and misshaped tensors are reported together", (context) => {
  const folder = temporaryFolder(context);
  const source = randomTensors(smallConfig);
  source.delete("model.norm.weight");
  source.delete("model.layers.1.mlp.experts.2.up_proj.weight");
  source.set("model.layers.0.mlp.gate.weight", { shape: [3, 7], values: new Float32Array(21) });
  source.set("model.layers.0.self_attn.q_proj.bias", { shape: [8], values: new Float32Array(8) });
  source.set("model.layers.2.input_layernorm.weight", { shape: [8], values: new Float32Array(8) });
  source.set("model.layers.0.self_attn.rotary_emb.inv_freq", { shape: [1], values: new Float32Array(1) });
  writeFolder(folder, smallConfig, source);
  assert.throws(
    () => loadCheckpoint(folder),
    (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, /5 mistakes/);
      assert.match(error.message, /tensor model\.norm\.weight is missing, expected shape \[8\]/);
      assert.match(error.message, /experts\.2\.up_proj\.weight is missing, expected shape \[6, 8\]/);
      assert.match(error.message, /mlp\.gate\.weight has shape \[3, 7\], expected \[3, 8\]/);
      assert.match(error.message, /q_proj\.bias" is unexpected: attention_bias is false/);
      assert.match(error.message, /model\.layers\.2\.input_layernorm\.weight" is unexpected/);
      return true;
    },
  );
});

test("a tied head that is stored again must be the embedding", (context) => {
  const folder = temporaryFolder(context);
  const tied = { ...smallConfig, tie_word_embeddings: true };
  const source = randomTensors(tied);
  const embed = source.get("model.embed_tokens.weight")!;
  source.set("lm_head.weight", embed);
  writeFolder(folder, tied, source);
  loadCheckpoint(folder).close();
  const values = embed.values.slice();
  values[87] = 5;
  source.set("lm_head.weight", { shape: embed.shape, values });
  writeFolder(folder, tied, source);
  assert.throws(
    () => loadCheckpoint(folder),
    /tie_word_embeddings is true in config\.json, but lm_head\.weight is stored/,
  );
});

test("a conversion is done once, and again when the model or the file changes", async (context) => {
  const folder = temporaryFolder(context);
  const cache = join(folder, "cache");
  const model = join(folder, "model");
  const source = randomTensors(smallConfig);
  writeFolder(model, smallConfig, source);
  const first = await prepared(model, cache);
  const written = statSync(first.path).mtimeMs;
  const again = await prepared(model, cache);
  assert.deepEqual(again, first);
  assert.equal(statSync(again.path).mtimeMs, written);

  source.get("model.norm.weight")!.values[3] = 9;
  writeFolder(model, smallConfig, source);
  const changed = await converted(model, cache);
  assert.notEqual(changed.weights.digest, first.digest);
  assert.equal(changed.tensors.get("norm")![3], 9);
  writeFolder(model, { ...smallConfig, rope_theta: 5 }, source);
  assert.notEqual((await prepared(model, cache)).digest, changed.weights.digest);

  // Cut short or with a broken description, a conversion is not taken for whole.
  writeFolder(model, smallConfig, source);
  truncateSync(changed.weights.path, 100);
  assert.deepEqual((await converted(model, cache)).tensors, changed.tensors);
  writeFileSync(join(changed.weights.path, "../weights.json"), "{");
  assert.deepEqual((await converted(model, cache)).tensors, changed.tensors);
});

test("what a killed conversion left is removed, and what a living one is doing is not", async (context) => {
  const folder = temporaryFolder(context);
  const cache = join(folder, "cache");
  writeFolder(join(folder, "model"), smallConfig, randomTensors(smallConfig));
  // A process that has ended: its number is free, or at least not a conversion's.
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const partial = (pid: number) => join(cache, `${"a".repeat(64)}.${pid}.0.0.partial`);
  for (const pid of [dead, process.ppid]) {
    mkdirSync(partial(pid), { recursive: true });
    writeFileSync(join(partial(pid), "weights.bin"), "half");
  }
  await prepared(join(folder, "model"), cache);
  assert.ok(!existsSync(partial(dead)));
  assert.ok(existsSync(partial(process.ppid)));
});

test("two conversions at once end in one result", async (context) => {
  const folder = temporaryFolder(context);
  const cache = join(folder, "cache");
  writeFolder(join(folder, "model"), smallConfig, randomTensors(smallConfig));
  const both = await Promise.all([prepared(join(folder, "model"), cache), prepared(join(folder, "model"), cache)]);
  assert.equal(both[0].digest, both[1].digest);
  assert.deepEqual(readdirSync(cache), [both[0].digest]);
  assert.equal(readFileSync(both[0].path).length, both[0].bytes);
});

test("a weight that is not a finite number is named, and nothing is left in the cache", async (context) => {
  const parent = temporaryFolder(context);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const name of ["model.norm.weight", "model.layers.1.mlp.experts.2.down_proj.weight"]) {
      const tensors = randomTensors(smallConfig);
      tensors.get(name)!.values[5] = value;
      const folder = join(parent, `${value} in ${name}`);
      writeFolder(folder, smallConfig, tensors);
      const cache = join(folder, "cache");
      await assert.rejects(prepared(folder, cache), (error) => {
        assert.ok(error instanceof InputError);
        assert.ok(error.message.includes(`tensor ${name} has ${value} at element 5, expected finite numbers`));
        return true;
      });
      assert.deepEqual(readdirSync(cache), []);
    }
  }
});
