import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { adapterLayout } from "../../../src/model/adapter.ts";
import { baseWeightPlan } from "../../../src/model/base-weights.ts";
import { TensorflowEmitter } from "../../../src/tensor/executors/tensorflow-emitter.ts";
import { decodeSavedModel, type NodeDef } from "../../../src/tensor/executors/tensorflow-proto.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { add, square } from "../../../src/tensor/ops/arithmetic.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";
import { stepOf } from "../../support/llm-programs.ts";
import { smallModel } from "../../support/small-model.ts";

describe("a training step as a SavedModel", () => {
  const layout = adapterLayout(smallModel, { rank: 2, alpha: 4 });
  const shape = { rows: 2, length: 8, topK: 2 };
  const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: true, decay: true, form: "merged" } as const;
  const program = stepOf(smallModel, layout, shape, options);
  const { tensors } = baseWeightPlan(smallModel);
  const model = new TensorflowEmitter(program, { path: "/somewhere/weights.bin", tensors }).emit();
  const nodes = decodeSavedModel(model.bytes);
  const byName = new Map(nodes.map((node) => [node.name, node]));

  test("every name is given once, and every input follows what it reads", () => {
    assert.equal(byName.size, nodes.length);
    const seen = new Set<string>();
    for (const { name, input } of nodes) {
      for (const value of input) assert.ok(seen.has(value.replace(/^\^/, "").replace(/:.*/, "")), `${name} ← ${value}`);
      seen.add(name);
    }
  });

  test("each base weight is one variable, assigned once, by the initializer", () => {
    const handles = nodes.filter(({ op, name }) => op === "VarHandleOp" && name.startsWith("weight."));
    assert.equal(handles.length, tensors.size);
    const assigned = byName.get("initialize")!.input.map((value) => byName.get(value.slice(1))!);
    assert.deepEqual(new Set(assigned.map(({ input }) => input[0])), new Set(handles.map(({ name }) => name)));
    for (const { op } of assigned) assert.equal(op, "AssignVariableOp");
  });

  test("parameters and moments are state, and nothing else is", () => {
    const names = [
      "parameters",
      "parametersMean",
      "parametersVariance",
      "personal",
      "personalMean",
      "personalVariance",
    ];
    assert.deepEqual(model.state.map(({ name }) => name).sort(), names);
  });

  test("a run that keeps its state reads each variable before it assigns it", () => {
    const steps = byName.get(model.stepped)!.input.slice(1);
    assert.equal(steps.length, model.state.length);
    for (const { name } of model.state) {
      const assign = byName.get(`stepped.${name}`) as NodeDef;
      assert.deepEqual(assign.input, [`state.${name}`, `output.${name}`, `^input.${name}`]);
    }
  });
});

test("an input that comes out in another shape is no state", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 3]);
  const y = graph.input("y", "float32", [2, 3]);
  const outputs = { x: matmul(x, y, { transposeB: true }), y: add(square(y), x) };
  const { state } = new TensorflowEmitter({ name: "shapes", inputs: { x, y }, outputs }, null).emit();
  assert.deepEqual(
    state.map(({ name }) => name),
    ["y"],
  );
});

test("a weight that the file lacks is named", () => {
  const graph = new Graph();
  const program = { name: "lost", inputs: {}, outputs: { y: square(graph.weight("head", [2, 2])) } };
  const source = { path: "/somewhere/weights.bin", tensors: new Map() };
  assert.throws(() => new TensorflowEmitter(program, source).emit(), /no tensor "head"/);
});
