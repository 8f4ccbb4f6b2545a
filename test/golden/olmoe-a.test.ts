/** The reference checkpoint computes what it does in transformers and PyTorch. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { stepFeeds } from "../../src/engine/feeds.ts";
import { overwritable } from "../../src/tensor/graph/overwritable.ts";
import { executors } from "../support/executors.ts";
import { feeds, loadGolden, optimizer } from "../support/golden.ts";
import { goldenTests, isQuick } from "../support/golden-tests.ts";
import { stepOf } from "../support/llm-programs.ts";

goldenTests(isQuick);

for (const { name, create } of executors) {
  test(`${name}: a step that is written over its state has the same bits as one beside it`, async () => {
    const golden = await loadGolden();
    const { weights, layout, batch, rescaler } = golden;
    const program = stepOf(
      weights.config,
      layout,
      { rows: batch.rows, length: batch.length, topK: 2 },
      { ...optimizer, clip: true, decay: true, form: "factored" },
    );
    const names = [...overwritable(program)];
    assert.equal(names.length, 6);
    const start = (): Record<string, Float32Array> => ({
      parameters: golden.adapter("lora"),
      parametersMean: golden.adapter("grad.k2"),
      parametersVariance: golden.adapter("grad.k2").map((value) => value ** 2),
      personal: rescaler.slice(),
      personalMean: new Float32Array(layout.layers),
      personalVariance: new Float32Array(layout.layers).fill(0.1),
    });
    const rest = { ...feeds(golden), ...stepFeeds({ ...optimizer, clipNorm: 1, weightDecay: 0.1 }, 2, [batch]) };
    const executable = await (await create()).compile(program, weights);
    const [beside, over] = [start(), start()];
    const expected = await executable.run({ ...beside, ...rest });
    await executable.run({ ...over, ...rest }, over);
    for (const key of names) assert.deepEqual(over[key], expected[key], key);
    assert.notDeepEqual(over.parameters, beside.parameters);
    executable.dispose();
  });
}
