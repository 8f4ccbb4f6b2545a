import assert from "node:assert/strict";
import { test } from "node:test";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { Graph, reachable } from "../../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../../src/tensor/graph/ir.ts";
import { add, argMax, cast, clip, exp, mul, reduceSum, scale, square } from "../../../src/tensor/ops/arithmetic.ts";
import { minimum } from "../../../src/tensor/ops/discrete.ts";
import { topK } from "../../../src/tensor/ops/index-ops.ts";
import { split } from "../../../src/tensor/ops/layout.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";
import { rmsNorm } from "../../../src/tensor/ops/nn.ts";
import { type Numbers, Reference } from "../../support/reference.ts";

const valuesOf = (tensor: Tensor, feeds: Numbers): number[] => [...new Reference(feeds).value(tensor).data];
const total = (x: Tensor): Tensor => reduceSum(x, [0], true);

test("a parameter used twice gets the sum of both slopes", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2]);
  // d(x² + 3x)/dx = 2x + 3
  const [slope] = gradients(total(add(square(x), scale(x, 3))), [x]);
  assert.deepEqual(valuesOf(slope!, { x: [1, -2] }), [5, -1]);
});

test("a parameter that is stretched gets the sum over all its copies", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 3]);
  const bias = graph.input("bias", "float32", [3]);
  const factor = graph.input("factor", "float32", [1]);
  const [dBias, dFactor] = gradients(reduceSum(mul(add(x, bias), factor), [0, 1]), [bias, factor]);
  const feeds = { x: [1, 2, 3, 4, 5, 6], bias: [0, 1, 0], factor: [10] };
  assert.deepEqual(valuesOf(dBias!, feeds), [20, 20, 20]);
  assert.deepEqual(valuesOf(dFactor!, feeds), [23]);
});

test("parameters may lie in the middle of a program, one above the other", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [1]);
  const y = scale(x, 2);
  const loss = square(y);
  const [dLoss, dy, dx] = gradients(loss, [loss, y, x]);
  assert.deepEqual(
    [dLoss, dy, dx].map((slope) => valuesOf(slope!, { x: [3] })[0]),
    [1, 12, 24],
  );
});

test("a part of a split that nobody uses has slope zero", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [graph.symbol("rows"), 3]);
  const [first] = split(x, 1, [1, 2]);
  const [slope] = gradients(reduceSum(first!, [0, 1]), [x]);
  assert.deepEqual(valuesOf(slope!, { x: [1, 2, 3, 4, 5, 6] }), [1, 0, 0, 1, 0, 0]);
});

test("beyond the edges of a clip the slope is zero, and at an edge it is not", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [5]);
  const [slope] = gradients(total(clip(x, -1, 1)), [x]);
  assert.deepEqual(valuesOf(slope!, { x: [-2, -1, 0, 1, 2] }), [0, 1, 1, 1, 0]);
});

test("only the largest entries carry a slope", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [1, 4]);
  const [slope] = gradients(reduceSum(square(topK(x, 2).values), [0, 1]), [x]);
  assert.deepEqual(valuesOf(slope!, { x: [3, 9, 1, 5] }), [0, 18, 0, 10]);
});

test("nothing below the lowest trainable is visited", () => {
  const graph = new Graph();
  const ids = graph.input("frozen", "float32", [2, 4]);
  // A frozen stack that could not be differentiated, with the trainable matrix above it.
  const frozen = rmsNorm(exp(minimum(ids, scale(ids, 2))), graph.weight("norm", [4]), 1e-5);
  const trainable = graph.input("trainable", "float32", [4, 4]);
  const above = square(matmul(frozen, trainable));
  const loss = reduceSum(above, [0, 1]);
  const before = graph.nodes.length;
  const [slope] = gradients(loss, [trainable]);
  const added = graph.nodes.slice(before);
  assert.ok(added.length < 10, `${added.length} nodes`);
  for (const node of added) {
    for (const { node: input } of node.inputs)
      assert.ok(input.id >= frozen.node.id || input === ids.node, input.op.name);
  }
  assert.ok(reachable([slope!]).includes(frozen.node));
});

test("a trainable that comes out of an operation needs no derivative of it", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2]);
  const lower = minimum(x, graph.constant([0, 0], [2]));
  const before = graph.nodes.length;
  const [slope] = gradients(total(square(lower)), [lower]);
  assert.deepEqual(valuesOf(slope!, { x: [-3, 3] }), [-6, 0]);
  assert.ok(graph.nodes.slice(before).every(({ inputs }) => inputs.every(({ node }) => node !== x.node)));
});

test("what cannot be differentiated is named", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 2]);
  const y = graph.input("y", "float32", [2, 2]);
  const loss = reduceSum(mul(minimum(x, y), y), [0, 1]);
  assert.throws(() => gradients(loss, [x]), {
    name: "InvariantError",
    message: "gradients: minimum has no derivative",
  });
  const chosen = total(cast(argMax(x), "float32"));
  assert.throws(() => gradients(chosen, [x]), /input "x" does not influence the loss/);
  assert.throws(() => gradients(reduceSum(y, [0, 1]), [x]), /input "x" does not influence the loss/);
  assert.throws(() => gradients(y, [y]), /the loss must be a scalar/);
});
