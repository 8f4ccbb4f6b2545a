import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type BaseForm, weightsInMemory } from "../../../src/model/base-weights.ts";
import { loadCheckpoint } from "../../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../../src/model/formats/prepare-weights.ts";
import { SafetensorsFile } from "../../../src/model/formats/safetensors.ts";
import type { StoredDtype } from "../../../src/model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../../src/model/formats/write-checkpoint.ts";
import { sizeOf } from "../../../src/tensor/graph/shape.ts";
import { quantise } from "../../../src/tensor/stored/quantise.ts";
import { readStored } from "../../../src/tensor/stored/stored.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { randomWeights, readAll, smallModel, type Tensors } from "../../support/small-model.ts";

test("a block is divided by its number of largest magnitude, which int4 has at −8 and int8 at 127", () => {
  // One column of two blocks: 4 is the largest of the first, −2 that of the second, which has one row.
  const column = Float32Array.from({ length: 33 }, (_, row) => [4, -4, 1, -0.3][row] ?? 0);
  column[32] = -2;
  const widened = new Float32Array(66);
  // Beside it a column of zeros.
  const values = Float32Array.from({ length: 66 }, (_, i) => (i % 2 === 0 ? column[i / 2]! : 0));
  const int4 = quantise(values, 2, "int4", widened);
  // Scales −0.5 and 0.25, exact in bfloat16, and −0; −4 would be at 8, and is put at 7.
  const levels = [...widened].filter((_, i) => i % 2 === 0);
  assert.deepEqual([...levels.slice(0, 4), levels[32]], [4, -3.5, 1, -0.5, -2]);
  assert.deepEqual([...int4.scales], [0xbf00, 0x8000, 0x3e80, 0x8000]);
  assert.deepEqual([...int4.integers.slice(0, 3), int4.integers[32]], [0x08, 0x07, 0x0e, 0x08]);
  const int8 = quantise(values, 2, "int8", widened);
  // 4 ÷ 127 = 0.031496… lies between two bfloat16, and the larger one is taken: nothing is cut off.
  assert.equal(int8.scales[0], 0x3d02);
  assert.deepEqual([int8.integers[0], int8.integers[2]], [126, 256 - 126]);
});

test("every stretch of a stored tensor reads as the same stretch of the whole", async (context) => {
  const folder = temporaryFolder(context);
  const weights = await converted(folder, { ...smallModel, width: 40, heads: 4, keyValueHeads: 4 }, "F32");
  for (const form of ["half", "int8", "int4"] as const) {
    const { path, tensors } = await weights(form);
    const descriptor = openSync(path, "r");
    for (const [name, tensor] of tensors) {
      const whole = new Float32Array(sizeOf(tensor.shape));
      readStored(descriptor, path, tensor, whole);
      for (
        let first = 0, length = 1;
        first + length <= whole.length;
        first += length + 2, length = (7 * length) % 101
      ) {
        const part = new Float32Array(length);
        readStored(descriptor, path, tensor, part, first);
        assert.deepEqual(part, whole.subarray(first, first + length), `${form} ${name} from ${first}`);
      }
    }
    closeSync(descriptor);
  }
});

for (const dtype of ["BF16", "F16"] as const) {
  test(`16 bits of a checkpoint are kept as they are: ${dtype}`, async (context) => {
    const weights = await converted(temporaryFolder(context), smallModel, dtype);
    const [half, wide] = [await weights("half"), await weights("f32")];
    assert.equal(half.error, 0);
    const [stored, expected] = [half, wide].map((each) => {
      const file = new BaseWeightsFile(each);
      const tensors = readAll(file);
      file.close();
      return tensors;
    });
    assert.deepEqual(stored, expected);
  });
}

test("16 bits that are no number are refused where they lie", async (context) => {
  const folder = temporaryFolder(context);
  for (const [dtype, bits] of [
    ["BF16", 0x7f80],
    ["F16", 0xfe00],
  ] as const) {
    const weights = await converted(join(folder, dtype), smallModel, dtype);
    const file = join(folder, dtype, "model", "model.safetensors");
    const { start } = SafetensorsFile.open(file).entry("model.layers.1.self_attn.o_proj.weight");
    const bytes = readFileSync(file);
    bytes.writeUInt16LE(bits, start + 2 * 5);
    writeFileSync(file, bytes);
    const value = dtype === "BF16" ? "Infinity" : "NaN";
    const expected = `layers\\.1\\.self_attn\\.o_proj\\.weight has ${value} at element 5, expected finite numbers`;
    await assert.rejects(weights("half"), new RegExp(expected));
  }
});

test("what a form cannot hold is refused by name, and nothing is left of the conversion", async (context) => {
  const large = new Map(randomWeights(smallModel));
  large.get("layers.1.o")![3] = 7e4;
  const weights = await converted(temporaryFolder(context), smallModel, "F32", large);
  await assert.rejects(weights("half"), /o_proj\.weight has a weight of 70000, which float16 cannot hold.*--base f32/);
  assert.equal((await weights("int8")).form, "int8");
});

/** Writes a model and converts it into any form. */
async function converted(
  folder: string,
  config: typeof smallModel,
  dtype: StoredDtype,
  tensors: Tensors = randomWeights(config),
) {
  writeCheckpoint(join(folder, "model"), weightsInMemory(config, tensors), { dtype });
  return async (form: BaseForm) => {
    const checkpoint = loadCheckpoint(join(folder, "model"));
    try {
      return await prepareBaseWeights(checkpoint, join(folder, "cache"), { form });
    } finally {
      checkpoint.close();
    }
  };
}
