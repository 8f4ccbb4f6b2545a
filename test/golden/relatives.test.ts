/** OLMoE's relatives compute what they do in transformers and PyTorch, and their files go there and back. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { countParameters } from "../../src/model/accounting.ts";
import { adapterLayout } from "../../src/model/adapter.ts";
import { exportPeft, importPeft } from "../../src/model/formats/adapters/peft.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { SafetensorsFile } from "../../src/model/formats/safetensors.ts";
import { writeCheckpoint } from "../../src/model/formats/write-checkpoint.ts";
import { mergedWeights } from "../../src/model/merge.ts";
import { temporaryFolder } from "../support/folders.ts";
import { loadGolden, relativeFolder } from "../support/golden.ts";
import { relatives, relativeTests } from "../support/golden-tests.ts";
import { type PlainTensor, writeFolder } from "../support/model-folder.ts";
import { randomAdapter } from "../support/small-model.ts";

relativeTests(({ name, form, k }) => form === "factored" && name.startsWith("ONNX") && k > 1);

/** Every tensor of a safetensors file, by name. */
function tensorsOf(folder: string): Map<string, Float32Array> {
  const file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const tensors = new Map<string, Float32Array>();
  for (const name of [...file.tensors.keys()].sort()) {
    tensors.set(name, tensorOf(file, name));
  }
  file.close();
  return tensors;
}

for (const type of Object.keys(relatives)) {
  test(`a small ${type} is counted to have the parameters that its file has`, async () => {
    const { config } = (await loadGolden(relativeFolder(type))).weights;
    const stored = [...tensorsOf(relativeFolder(type)).values()].reduce((sum, { length }) => sum + length, 0);
    assert.equal(countParameters(config).total, stored);
  });

  test(`a small ${type} becomes the executor layout and a folder again, bit for bit`, async (t) => {
    const { weights } = await loadGolden(relativeFolder(type));
    const folder = temporaryFolder(t);
    const base = new BaseWeightsFile(weights);
    writeCheckpoint(folder, base, { endTokens: [63], padToken: 0 });
    const parts = temporaryFolder(t);
    writeCheckpoint(parts, base, { endTokens: [63], padToken: 0, shardBytes: 30_000 });
    base.close();
    assert.deepEqual(tensorsOf(folder), tensorsOf(relativeFolder(type)));
    const [written, original, sharded] = [folder, relativeFolder(type), parts].map(loadCheckpoint);
    assert.deepEqual(written!.description, original!.description);
    assert.ok(sharded!.weights.files.length > 3);
    for (const [name, values] of tensorsOf(folder)) {
      const part = new Float32Array(values.length);
      sharded!.weights.readFloats(name, part);
      assert.deepEqual(part, values, name);
    }
    for (const checkpoint of [written!, original!, sharded!]) checkpoint.close();
  });

  test(`an adapter of a small ${type} goes to PEFT and back, and a merge puts it into every expert`, async (t) => {
    const { weights, layout, adapter, rescaler } = await loadGolden(relativeFolder(type));
    const [folder, merged] = [temporaryFolder(t), temporaryFolder(t)];
    const ones = new Float32Array(layout.layers).fill(1);
    exportPeft(folder, layout, adapter("lora"), { baseModelName: type, rescaler: ones });
    assert.deepEqual(importPeft(folder, weights.config).adapter, adapter("lora"));
    const base = new BaseWeightsFile(weights);
    writeCheckpoint(merged, mergedWeights(base, layout, adapter("lora"), rescaler));
    base.close();
    const before = tensorsOf(relativeFolder(type));
    for (const [name, values] of tensorsOf(merged)) {
      const isExpert = /\.experts\.|put_linear/.test(name);
      assert.equal(values.join() !== before.get(name)!.join(), isExpert, name);
    }
  });
}

for (const type of Object.keys(relatives)) {
  test(`attention of a small ${type} goes to PEFT and back, and a merge puts it into every projection`, async (t) => {
    const { weights } = await loadGolden(relativeFolder(type));
    const [folder, merged] = [temporaryFolder(t), temporaryFolder(t)];
    const layout = adapterLayout(weights.config, { rank: 2, alpha: 4, targets: "experts-and-attention" });
    const adapter = randomAdapter(layout, 1);
    const ones = new Float32Array(layout.layers).fill(1);
    exportPeft(folder, layout, adapter, { baseModelName: type, rescaler: ones });
    assert.deepEqual(importPeft(folder, weights.config).adapter, adapter);
    const base = new BaseWeightsFile(weights);
    writeCheckpoint(merged, mergedWeights(base, layout, adapter, ones));
    base.close();
    const before = tensorsOf(relativeFolder(type));
    for (const [name, values] of tensorsOf(merged)) {
      const isAdapted = /\.experts\.|put_linear|[qkvo]_proj\.weight/.test(name);
      assert.equal(values.join() !== before.get(name)!.join(), isAdapted, name);
    }
  });
}

/** Names as transformers 5 has them in memory, and writes them with `save_original_format=False`. */
function inMemory(name: string): string {
  return name
    .replace("input_linear.weight", "experts.gate_up_proj")
    .replace("output_linear.weight", "experts.down_proj")
    .replace("router.layer.weight", "router.weight")
    .replace(/block_sparse_moe\.(gate|experts\.\d)/, "mlp.$1");
}

test("folders with the names that transformers 5 has in memory are the same models", async (t) => {
  for (const type of ["granitemoe", "mixtral"]) {
    const { weights } = await loadGolden(relativeFolder(type));
    const { width: d, expertWidth: f, experts } = weights.config;
    const file = SafetensorsFile.open(join(relativeFolder(type), "model.safetensors"));
    const tensors = new Map<string, PlainTensor>();
    for (const [name, values] of tensorsOf(relativeFolder(type))) {
      const [, block, projection] = /^(.*experts)\.\d+\.(w[123])\.weight$/.exec(inMemory(name)) ?? [];
      if (block === undefined) tensors.set(inMemory(name), { shape: file.entry(name).shape, values });
      else if (projection === "w1") {
        // Sorted by name, experts come one after the other, each with its w1 first.
        const [w3, w2] = ["w3", "w2"].map((other) => tensorOf(file, name.replace("w1", other)));
        append(tensors, `${block}.gate_up_proj`, [experts, 2 * f, d], [...values, ...w3!]);
        append(tensors, `${block}.down_proj`, [experts, d, f], w2!);
      }
    }
    file.close();
    const folder = temporaryFolder(t);
    const config = JSON.parse(readFileSync(join(relativeFolder(type), "config.json"), "utf8"));
    writeFolder(folder, config, tensors);
    const checkpoint = loadCheckpoint(folder);
    const converted = await prepareBaseWeights(checkpoint, temporaryFolder(t));
    checkpoint.close();
    assert.ok(readFileSync(converted.path).equals(readFileSync(weights.path)), type);
  }
});

function tensorOf(file: SafetensorsFile, name: string): Float32Array {
  const values = new Float32Array(file.entry(name).size);
  file.readFloats(name, values);
  return values;
}

function append(tensors: Map<string, PlainTensor>, name: string, shape: number[], more: Iterable<number>): void {
  tensors.set(name, { shape, values: Float32Array.from([...(tensors.get(name)?.values ?? []), ...more]) });
}
