/** OLMoE's relatives compute what they do in transformers and PyTorch, and their files go there and back. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { countParameters } from "../../src/model/accounting.ts";
import { exportPeft, importPeft } from "../../src/model/formats/adapters/peft.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile } from "../../src/model/formats/prepare-weights.ts";
import { SafetensorsFile } from "../../src/model/formats/safetensors.ts";
import { writeCheckpoint } from "../../src/model/formats/write-checkpoint.ts";
import { mergedWeights } from "../../src/model/merge.ts";
import { temporaryFolder } from "../support/folders.ts";
import { loadGolden, relativeFolder } from "../support/golden.ts";
import { relatives, relativeTests } from "../support/golden-tests.ts";

relativeTests(({ name, form, k }) => form === "factored" && name.startsWith("ONNX") && k > 1);

/** Every tensor of a safetensors file, by name. */
function tensorsOf(folder: string): Map<string, Float32Array> {
  const file = SafetensorsFile.open(join(folder, "model.safetensors"));
  const tensors = new Map<string, Float32Array>();
  for (const [name, { size }] of [...file.tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const values = new Float32Array(size);
    file.readFloats(name, values);
    tensors.set(name, values);
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
    base.close();
    assert.deepEqual(tensorsOf(folder), tensorsOf(relativeFolder(type)));
    const [written, original] = [folder, relativeFolder(type)].map(loadCheckpoint);
    assert.deepEqual(written!.description, original!.description);
    for (const checkpoint of [written!, original!]) checkpoint.close();
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
