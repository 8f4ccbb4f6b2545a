import assert from "node:assert/strict";
import { test } from "node:test";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { scale } from "../../../src/tensor/ops/arithmetic.ts";

test("of an output that is written in place no copy is left, whatever the runtime's binding returns", async () => {
  const size = 1_000_000;
  const x = new Graph().input("x", "float32", [size]);
  const program = { name: "doubled", inputs: { x }, outputs: { x: scale(x, 2) } };
  const doubled = await new OnnxExecutor().compile(program, null);
  const values = new Float32Array(size).fill(1);
  const bytes = () => process.memoryUsage().arrayBuffers;
  const before = bytes();
  for (let run = 0; run < 3; run++) {
    const { x: after } = await doubled.run({ x: values }, { x: values });
    assert.equal(after, values);
  }
  assert.ok(bytes() - before < 4 * size, `${bytes() - before} bytes`);
  assert.deepEqual([values[0], values.at(-1)], [8, 8]);
  doubled.dispose();
});
