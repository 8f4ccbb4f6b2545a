import assert from "node:assert/strict";
import { test } from "node:test";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../../src/tensor/graph/ir.ts";
import { overwritable } from "../../../src/tensor/graph/overwritable.ts";
import { add, exp, mul, reduceSum, scale, sub } from "../../../src/tensor/ops/arithmetic.ts";
import { concat, reshape, transpose } from "../../../src/tensor/ops/layout.ts";
import { adamW } from "../../../src/tensor/optimizer.ts";

/** Whether a state x may be written over by what is made of it, beside other outputs. */
function isOverwritable(build: (x: Tensor, other: Tensor) => Record<string, Tensor>): boolean {
  const graph = new Graph();
  const [x, other] = [graph.input("x", "float32", [4, 4]), graph.input("other", "float32", [4, 4])];
  return overwritable({ name: "", inputs: { x, other }, outputs: build(x, other) }).has("x");
}

test("AdamW may write parameters and moments over what they were", () => {
  const graph = new Graph();
  const vector = (name: string, size = 8) => graph.input(name, "float32", [size]);
  const state = { parameters: vector("parameters"), mean: vector("mean"), variance: vector("variance") };
  const rates = ["learningRate", "decay", "correction1", "correction2"].map((name) => vector(name, 1));
  const [learningRate, decay, correction1, correction2] = rates as [Tensor, Tensor, Tensor, Tensor];
  const step = { learningRate, decay, correction1, correction2 };
  const gradient = mul(state.parameters, state.parameters);
  const outputs = { ...adamW(state, gradient, step, { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 }, true) };
  const names = [...overwritable({ name: "", inputs: state, outputs })];
  assert.deepEqual(names, ["parameters", "mean", "variance"]);
});

test("an output that needs other elements, or is needed later, is not written over its input", () => {
  assert.ok(isOverwritable((x, other) => ({ x: sub(x, other) })));
  assert.ok(isOverwritable((x, other) => ({ x: add(x, mul(reshape(scale(x, 2), [4, 4]), other)) })));
  const refused: Parameters<typeof isOverwritable>[0][] = [
    // Read after it was written, or perhaps after.
    (x, other) => ({ x: sub(x, other), loss: mul(x, other) }),
    (x, other) => ({ x: sub(x, other), loss: mul(reshape(x, [16]), reshape(other, [16])) }),
    // Other elements.
    (x, other) => ({ x: add(transpose(x, [1, 0]), other) }),
    (x, other) => ({ x: add(reshape(reshape(x, [2, 8]), [4, 4]), exp(mul(x, other))) }),
    (x) => ({ x: concat([reduceSum(x, [0], true), reduceSum(x, [0], true)], 0) }),
    // Nothing is computed.
    (x) => ({ x }),
    (x) => ({ x: reshape(reshape(x, [16]), [4, 4]) }),
  ];
  for (const [at, build] of refused.entries()) assert.ok(!isOverwritable(build), `case ${at}`);
});
