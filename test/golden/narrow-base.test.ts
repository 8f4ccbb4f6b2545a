/** Base weights stored in 16, 8 or 4 bits compute what transformers does in float32 on the numbers that they stand for. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type BaseForm, type BaseWeights, baseForms } from "../../src/model/base-weights.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { sizeOf } from "../../src/tensor/graph/shape.ts";
import { type Golden, goldenFolder, loadGolden, narrowFolder } from "../support/golden.ts";
import { type GoldenCase, goldenTests } from "../support/golden-tests.ts";

const folder = mkdtempSync(join(tmpdir(), "flame-narrow-"));
after(() => rmSync(folder, { recursive: true }));

const narrowForms = baseForms.filter((form) => form !== "f32");

for (const base of narrowForms) {
  const isChosen = ({ name, form }: GoldenCase): boolean => form === "factored" && name.startsWith("ONNX");
  goldenTests(isChosen, { what: `a small OLMoE in ${base}`, folder: narrowFolder, base, budgets: [3] });
}

describe("narrow base weights", () => {
  let golden: Golden;
  const stored = new Map<BaseForm, BaseWeights>();
  before(async () => {
    golden = await loadGolden();
    const checkpoint = loadCheckpoint(goldenFolder);
    for (const form of narrowForms) stored.set(form, await prepareBaseWeights(checkpoint, folder, { form }));
    checkpoint.close();
  });

  test("narrowing changes the weights by as much as the conversion says", () => {
    const wide = new BaseWeightsFile(golden.weights);
    const worst: Record<string, number> = {};
    for (const [form, weights] of stored) {
      const file = new BaseWeightsFile(weights);
      let [lost, all] = [0, 0];
      for (const [name, { shape, type }] of weights.tensors) {
        const [original, narrow] = [wide, file].map((source) => {
          const values = new Float32Array(sizeOf(shape));
          source.read(name, values);
          return values;
        }) as [Float32Array, Float32Array];
        if (type === undefined) assert.deepEqual(narrow, original, name);
        else
          for (const [i, value] of original.entries()) {
            lost += (value - narrow[i]!) ** 2;
            all += value ** 2;
          }
      }
      file.close();
      worst[form] = weights.error;
      assert.ok(Math.abs(weights.error - Math.sqrt(lost / all)) <= 1e-12, form);
    }
    wide.close();
    assert.ok(worst.half! > 0 && worst.half! < 2 ** -12, `half: ${worst.half}`);
    assert.ok(worst.int8! > 1e-3 && worst.int8! < 8e-3, `int8: ${worst.int8}`);
    assert.ok(worst.int4! > 0.05 && worst.int4! < 0.1, `int4: ${worst.int4}`);
  });

  test("a form takes the bytes it says, and each has a digest of its own", () => {
    const digests = [golden.weights, ...stored.values()].map(({ digest }) => digest);
    assert.equal(new Set(digests).size, 4);
    const sizes = [...stored.values()].map(({ path, bytes }) => {
      assert.equal(statSync(path).size, bytes);
      return bytes;
    });
    assert.deepEqual(
      sizes,
      sizes.toSorted((a, b) => b - a),
    );
  });
});
