/** Base weights stored in 16, 8 or 4 bits compute what the same numbers do in float32. */
import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { writeFully } from "../../src/base/disk.ts";
import { type BaseForm, type BaseWeights, baseForms, baseWeightPlan } from "../../src/model/base-weights.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { sizeOf } from "../../src/tensor/graph/shape.ts";
import { executors } from "../support/executors.ts";
import { feeds, type Golden, goldenFolder, loadGolden, relativeError } from "../support/golden.ts";
import { evaluationOf, gradientStep, restingFeeds } from "../support/llm-programs.ts";

const folder = mkdtempSync(join(tmpdir(), "flame-narrow-"));
after(() => rmSync(folder, { recursive: true }));

const narrowForms = baseForms.filter((form) => form !== "f32");

describe("narrow base weights", () => {
  let golden: Golden;
  const stored = new Map<BaseForm, BaseWeights>();
  before(async () => {
    golden = await loadGolden();
    const checkpoint = loadCheckpoint(goldenFolder);
    for (const form of narrowForms) stored.set(form, await prepareBaseWeights(checkpoint, folder, { form }));
    checkpoint.close();
  });

  // TensorFlow maps float32 alone.
  for (const { name, create } of executors.filter((executor) => executor.name !== "TensorFlow")) {
    for (const form of narrowForms) {
      test(`${name}: logits, losses and gradients with ${form} are those of its numbers in float32`, async () => {
        const narrow = await outputsWith(stored.get(form)!);
        const wide = await outputsWith(inFloat32(stored.get(form)!));
        for (const [key, values] of Object.entries(wide)) {
          // Widening is exact, so nothing but the order of sums may differ.
          const error = relativeError(narrow[key]!, values);
          assert.ok(error <= 1e-5, `${key}: relative error ${error}`);
        }
      });
    }

    async function outputsWith(weights: BaseWeights): Promise<Record<string, Float32Array>> {
      const { layout, batch, rescaler } = golden;
      const executor = await create();
      const shape = { rows: batch.rows, length: batch.length, topK: 2 };
      const model = { parameters: golden.adapter("lora"), personal: rescaler, ...feeds(golden) };
      const evaluation = await executor.compile(evaluationOf(weights.config, layout, shape, "factored", true), weights);
      const { logits, losses } = await evaluation.run(model);
      evaluation.dispose();
      const step = await executor.compile(gradientStep(weights.config, layout, shape, "factored"), weights);
      const inverseCount = Float32Array.of(1 / batch.lossPositions.length);
      const { parametersMean, personalMean } = await step.run({ ...restingFeeds(layout), ...model, inverseCount });
      step.dispose();
      return { logits, losses, parametersMean, personalMean } as Record<string, Float32Array>;
    }
  }

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

/** The numbers that weights stand for, as a file of float32. */
function inFloat32(weights: BaseWeights): BaseWeights {
  const path = join(folder, `${weights.form}.bin`);
  const plan = baseWeightPlan(weights.config);
  const [file, descriptor] = [new BaseWeightsFile(weights), openSync(path, "w")];
  for (const [name, { shape, offset }] of plan.tensors) {
    const values = new Float32Array(sizeOf(shape));
    file.read(name, values);
    writeFully(descriptor, new Uint8Array(values.buffer), offset);
  }
  file.close();
  closeSync(descriptor);
  return { ...weights, ...plan, form: "f32", path };
}
