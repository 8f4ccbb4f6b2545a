import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, describe, test } from "node:test";
import { InvariantError, MachineError } from "../../../src/base/errors.ts";
import type { ResidentState } from "../../../src/tensor/executors/executor.ts";
import { TensorflowExecutor } from "../../../src/tensor/executors/tensorflow.ts";
import { loadTensorflow } from "../../../src/tensor/executors/tensorflow-addon.ts";
import { TensorflowEmitter } from "../../../src/tensor/executors/tensorflow-emitter.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { Program } from "../../../src/tensor/graph/ir.ts";
import { add, mul, reduceSum, scale, square } from "../../../src/tensor/ops/arithmetic.ts";
import { gatherRows } from "../../../src/tensor/ops/index-ops.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";
import { tensorflowAbsent } from "../../support/tensorflow.ts";

/** w ← w·decay + Σ rows of table[index], with the squares of w before as `energy`. */
function accumulation(): Program {
  const graph = new Graph();
  const w = graph.input("w", "float32", [3]);
  const index = graph.input("index", "int32", [graph.symbol("picked")]);
  const decay = graph.input("decay", "float32", [1]);
  const table = graph.weight("table", [4, 3]);
  const energy = reduceSum(square(w), [0], true);
  const next = add(mul(w, decay), reduceSum(gatherRows(table, index), [0]));
  return { name: "accumulation", inputs: { w, index, decay }, outputs: { w: next, energy } };
}

describe("TensorFlow", { skip: tensorflowAbsent }, () => {
  const folder = mkdtempSync(join(tmpdir(), "flame-tensorflow-"));
  after(() => rmSync(folder, { recursive: true }));
  const weights = { path: join(folder, "weights.bin"), tensors: new Map([["table", { offset: 64, shape: [4, 3] }]]) };
  writeFileSync(
    weights.path,
    Float32Array.from({ length: 16 + 12 }, (_, i) => i - 16),
  );

  const feeds = (...index: number[]) => ({ index: Int32Array.from(index), decay: Float32Array.of(0.5) });
  const start = () => ({ w: Float32Array.of(1, 2, 3) });
  const compile = () => new TensorflowExecutor().compile(accumulation(), weights);

  test("a program in a SavedModel answers to tf.node.loadSavedModel too", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [2, 2]);
    const program = { name: "public", inputs: { x }, outputs: { y: scale(matmul(x, x), 2) } };
    writeFileSync(join(folder, "saved_model.pb"), new TensorflowEmitter(program, null).emit().bytes);
    loadTensorflow();
    const tf = createRequire(join(resolve(process.env.FLAME_TFJS_NODE ?? import.meta.dirname), "package.json"))(
      "@tensorflow/tfjs-node",
    );
    await tf.setBackend("tensorflow");
    const model = await tf.node.loadSavedModel(folder);
    const { y } = model.predict({ x: tf.tensor2d([1, 2, 3, 4], [2, 2]) });
    assert.deepEqual([...y.dataSync()], [14, 20, 30, 44]);
    model.dispose();
  });

  test("weights come from their place in the file", async () => {
    const executable = await compile();
    const out = await executable.run({ ...start(), ...feeds(0, 3, 3) });
    assert.deepEqual([...(out.w as Float32Array)], [0.5 + 18, 1 + 21, 1.5 + 24]);
    assert.deepEqual([...(out.energy as Float32Array)], [14]);
    executable.dispose();
  });

  test("state on the device goes the way of state that is fed, bit for bit", async () => {
    const executable = await compile();
    const steps = [feeds(0), feeds(1, 2, 1), feeds(3, 0)];
    let fed = start();
    const energies: number[] = [];
    for (const step of steps) {
      const out = await executable.run({ ...fed, ...step });
      fed = { w: out.w as Float32Array<ArrayBuffer> };
      energies.push((out.energy as Float32Array)[0]!);
    }
    const held = executable.hold!(start());
    for (const [i, step] of steps.entries()) {
      const out = await held.run(step);
      assert.deepEqual(Object.keys(out), ["energy"]);
      assert.equal((out.energy as Float32Array)[0], energies[i]);
    }
    const read = new Float32Array(3);
    await held.read({ w: read });
    assert.deepEqual(read, fed.w);
    executable.dispose();
  });

  test("arrays that were fed are the caller's again", async () => {
    const executable = await compile();
    const { w } = start();
    const held = executable.hold!({ w });
    w.fill(-1);
    await held.run(feeds(0));
    await held.read({ w });
    assert.deepEqual([...w], [0.5, 2, 3.5]);
    w.fill(-1);
    const out = await held.run({ ...feeds(), decay: Float32Array.of(1) });
    assert.deepEqual([...(out.energy as Float32Array)], [0.25 + 4 + 12.25]);
    executable.dispose();
  });

  test("a state gives way to the next one, and says so when it is asked again", async () => {
    const executable = await compile();
    const first: ResidentState = executable.hold!(start());
    const second: ResidentState = executable.hold!({ w: Float32Array.of(0, 0, 2) });
    await assert.rejects(first.run(feeds(0)), InvariantError);
    assert.deepEqual((await second.run(feeds(0))).energy, Float32Array.of(4));
    executable.dispose();
  });

  test("no tensor stays behind, after a run that fails either", async () => {
    const { addon } = loadTensorflow();
    const executable = await compile();
    await executable.run({ ...start(), ...feeds(0) });
    const before = addon.getNumOfTensors();
    for (let i = 0; i < 10; i++) await executable.run({ ...start(), ...feeds(1, 2) });
    await assert.rejects(executable.run({ ...start(), ...feeds(4) }), MachineError);
    assert.equal(addon.getNumOfTensors(), before);
    executable.dispose();
  });

  test("the arrays of a run are checked before native code sees them", async () => {
    const executable = await compile();
    await assert.rejects(executable.run({ ...feeds(0) }), /input "w" is missing/);
    await assert.rejects(executable.run({ w: new Float32Array(2), ...feeds(0) }), /"w" expected float32 \[3\]/);
    const outputs = { w: new Float32Array(4) };
    await assert.rejects(executable.run({ ...start(), ...feeds(0) }, outputs), /"w" expected float32 \[3\]/);
    executable.dispose();
    await assert.rejects(executable.run({ ...start(), ...feeds(0) }), /was disposed/);
  });
});
