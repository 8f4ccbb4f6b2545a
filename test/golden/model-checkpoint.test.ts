/** The reference checkpoint that transformers wrote, read tensor by tensor with code that shares nothing with ours. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { adapterLayout } from "../../src/model/adapter.ts";
import { exportPeft, importPeft } from "../../src/model/formats/adapters/peft.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { SafetensorsFile } from "../../src/model/formats/safetensors.ts";
import { writeSafetensors } from "../../src/model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../src/model/formats/write-checkpoint.ts";
import { temporaryFolder } from "../support/folders.ts";
import { goldenFolder } from "../support/golden.ts";

interface Entry {
  readonly shape: number[];
  readonly data_offsets: [number, number];
}

/** Name → values of a float32 safetensors file. */
function plainRead(path: string): Map<string, number[]> {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, Entry>;
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          data_offsets: [begin, end],
        },
      ]) => [name, Array.from({ length: (end - begin) / 4 }, (_, i) => bytes.readFloatLE(8 + length + begin + i * 4))],
    ),
  );
}

describe("the reference checkpoint's files", () => {
  test("become the executor layout and a folder again, bit for bit", async (context) => {
    const folder = temporaryFolder(context);
    const checkpoint = loadCheckpoint(goldenFolder);
    const { width: d, expertWidth: f, experts, layers, topK, vocabulary } = checkpoint.config;
    assert.deepEqual([d, f, experts, layers, topK, vocabulary], [32, 24, 16, 3, 8, 96]);
    assert.deepEqual(checkpoint.description.endTokens, [50_279]);
    const weights = await prepareBaseWeights(checkpoint, folder);
    checkpoint.close();
    const file = new BaseWeightsFile(weights);
    const source = plainRead(join(goldenFolder, "model.safetensors"));
    const gateUp = new Float32Array(experts * d * 2 * f);
    file.read("layers.2.gateUp", gateUp);
    for (const [e, i, o] of [
      [0, 0, 0],
      [7, 31, 5],
      [15, 3, 23],
    ] as const) {
      const row = (e * d + i) * 2 * f;
      assert.equal(gateUp[row + o], source.get(`model.layers.2.mlp.experts.${e}.gate_proj.weight`)![o * d + i]);
      assert.equal(gateUp[row + f + o], source.get(`model.layers.2.mlp.experts.${e}.up_proj.weight`)![o * d + i]);
    }
    writeCheckpoint(join(folder, "copy"), file);
    file.close();
    assert.deepEqual(
      new Map([...plainRead(join(folder, "copy/model.safetensors"))].sort()),
      new Map([...source].sort()),
    );
  });

  test("give an adapter that survives import and export", (context) => {
    const folder = temporaryFolder(context);
    const checkpoint = loadCheckpoint(goldenFolder);
    checkpoint.close();
    const layout = adapterLayout(checkpoint.config, { rank: 4, alpha: 8 });
    const expected = SafetensorsFile.open(join(goldenFolder, "expected.safetensors"));
    const rescaler = new Array<number>(layout.layers).fill(1);
    // An empty adapter gives the configuration; the reference's tensors, as PEFT named them, give the values.
    exportPeft(join(folder, "in"), layout, new Float32Array(layout.size), { baseModelName: "olmoe-a", rescaler });
    const names = [...expected.tensors.keys()].filter((name) => name.startsWith("lora.base_model."));
    const tensors = names.map((name) => ({
      name: name.slice("lora.".length),
      shape: expected.entry(name).shape,
      values: expected.floats(name),
    }));
    assert.equal(tensors.length, 3 * 16 * 6);
    writeSafetensors(join(folder, "in/adapter_model.safetensors"), tensors);
    const { adapter } = importPeft(join(folder, "in"), checkpoint.config);
    exportPeft(join(folder, "out"), layout, adapter, { baseModelName: "olmoe-a", rescaler });
    const written = plainRead(join(folder, "out/adapter_model.safetensors"));
    assert.equal(written.size, tensors.length);
    for (const { name, values } of tensors) assert.deepEqual(written.get(name), [...values], name);
    expected.close();
  });
});
