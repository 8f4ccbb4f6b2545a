import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { adapterLayout } from "../../src/model/adapter.ts";
import { baseWeightPlan } from "../../src/model/base-weights.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { decodeProgram, encodeProgram } from "../../src/tensor/codec.ts";
import { OnnxEmitter } from "../../src/tensor/executors/onnx-emitter.ts";
import { encodeModel } from "../../src/tensor/executors/onnx-proto.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Program } from "../../src/tensor/graph/ir.ts";
import { opsByName } from "../../src/tensor/ops/index.ts";
import { stepOf } from "../support/llm-programs.ts";
import { Growth, lossOf, programOf, recipes } from "../support/random-programs.ts";
import { kernels } from "../support/reference.ts";
import { smallModel } from "../support/small-model.ts";

const weights = { path: "weights.bin", ...baseWeightPlan(smallModel) };
const onnx = (program: Program): string =>
  Buffer.from(encodeModel(new OnnxEmitter(weights).emit(program))).toString("base64");

test("a program that was written down gives the same ONNX bytes and the same digest", () => {
  fc.assert(
    fc.property(recipes, fc.boolean(), (recipe, smooth) => {
      const growth = new Growth(recipe, smooth);
      const program = programOf(growth, smooth ? gradients(lossOf(growth), growth.parameters) : []);
      const { text, digest } = encodeProgram(program);
      const read = decodeProgram(text);
      assert.equal(onnx(read), onnx(program));
      assert.equal(encodeProgram(read).digest, digest);
    }),
    { seed: 7, numRuns: 100, includeErrorInReport: true },
  );
});

test("training steps in every form of LoRA are data", () => {
  const layout = adapterLayout(smallModel, { rank: 2, alpha: 4 });
  const shape = { rows: 2, length: 8, topK: 2 };
  for (const form of ["factored", "merged", "padded"] as const) {
    const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: true, decay: true, form };
    const program = stepOf(smallModel, layout, shape, options);
    assert.equal(onnx(decodeProgram(encodeProgram(program).text)), onnx(program), form);
  }
});

test("every operation that the reference knows can be written down", () => {
  assert.deepEqual(
    Object.keys(kernels).filter((name) => !opsByName.has(name)),
    [],
  );
});

test("numbers that JSON does not know survive", () => {
  const graph = new Graph();
  const values = [Infinity, -Infinity, -0, 0.1];
  const program = { name: "p", inputs: {}, outputs: { y: graph.constant(values, [4]) } };
  const read = decodeProgram(encodeProgram(program).text).outputs.y!.node.attributes.values;
  assert.deepEqual(read, values);
  assert.ok(Object.is((read as number[])[2], -0));
});

test("what is not a program is refused with its name and what is wrong", () => {
  const refused = (text: string, message: RegExp) =>
    assert.throws(() => decodeProgram(text), { name: "InputError", message });
  refused("{", /cannot be read/);
  refused(
    '{"name":"p","nodes":[["launch",[],{}]],"inputs":{},"outputs":{}}',
    /program "p": no operation is called "launch"/,
  );
  refused('{"name":"p","nodes":[],"inputs":{},"outputs":{"y":[3,0]}}', /output 0 of node 3 does not exist/);
});
