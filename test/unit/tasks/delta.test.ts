import assert from "node:assert/strict";
import { test } from "node:test";
import { addProduct, emptySum, matrixOf } from "../../../src/fl/low-rank/products.ts";
import { adapterLayout } from "../../../src/model/adapter.ts";
import { denseOffsets } from "../../../src/tasks/dense.ts";
import { parameterLayout } from "../../../src/tasks/llm/task.ts";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { LlmEngine } from "../../support/llm-engine.ts";
import { batchOf, prepared, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const lora = { rank: 3, alpha: 6, targets: "experts-and-attention" } as const;
const adapter = adapterLayout(smallModel, lora);
const layout = parameterLayout(adapter);

for (const form of ["factored", "merged", "padded"] as const) {
  test(`${form}: an adapter's products, given as a change of the base, predict what the adapter predicts`, async () => {
    const weights = await prepared(smallModel, randomWeights(smallModel));
    const engine = new LlmEngine(new OnnxExecutor(), weights, lora, { form });
    try {
      const factors = randomAdapter(adapter, 1).map((value) => 4 * value);
      const offsets = denseOffsets(layout);
      const delta = new Float32Array(offsets.at(-1)!);
      for (const [at, pair] of layout.pairs.entries()) {
        const sum = emptySum(pair);
        addProduct(sum, factors, pair, pair.scale);
        delta.set(matrixOf(sum), offsets[at]!);
      }
      const rescaler = new Float32Array(smallModel.layers).fill(1);
      const batches = [
        batchOf(
          [
            [3, 1, 4, 1, 5, 9, 2],
            [6, 5, 3, 5, 8],
          ],
          8,
        ),
      ];
      const lossOf = async (model: { parameters: Float32Array; variant: object; inputs?: { delta: Float32Array } }) =>
        (
          await engine.evaluate({
            models: [{ personal: rescaler, ...model, variant: { topK: 2, ...model.variant } }],
            batches,
          })
        ).loss;
      const base = await lossOf({ parameters: new Float32Array(layout.size), variant: {} });
      const adapted = await lossOf({ parameters: factors, variant: {} });
      const given = await lossOf({
        parameters: new Float32Array(layout.size),
        variant: { delta: 1 },
        inputs: { delta },
      });
      assert.ok(Math.abs(adapted - base) > 0.1, `the adapter changes the loss from ${base} to ${adapted}`);
      // Sums in another order, in float32.
      assert.ok(Math.abs(given - adapted) < 1e-4 * adapted, `${given} and ${adapted}`);
      const both = await lossOf({
        parameters: factors,
        variant: { delta: 1 },
        inputs: { delta: new Float32Array(delta.length) },
      });
      assert.ok(Math.abs(both - adapted) < 1e-5 * adapted, "a change of zero changes nothing");
    } finally {
      engine.dispose();
      weights.cleanUp();
    }
  });
}
