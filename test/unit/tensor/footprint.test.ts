import assert from "node:assert/strict";
import { test } from "node:test";
import { peakBytes } from "../../../src/tensor/graph/footprint.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { add, exp, scale } from "../../../src/tensor/ops/arithmetic.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";

const none = () => assert.fail("no size is known at run time only");

test("a chain needs its input, and two values at a time", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [100]);
  const y = scale(exp(scale(exp(x), 2)), 3);
  // Input and output stay; between them one value is made from another.
  assert.equal(peakBytes({ name: "chain", inputs: { x }, outputs: { y } }, none), 3 * 400);
});

test("an output that is written over its input takes no room of its own", () => {
  const x = new Graph().input("x", "float32", [100]);
  const program = { name: "over", inputs: { x }, outputs: { x: scale(x, 2) } };
  assert.deepEqual([peakBytes(program, none), peakBytes(program, none, new Set(["x"]))], [800, 400]);
});

test("what a later node needs stays alive", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [100]);
  const first = exp(x);
  const y = add(scale(exp(scale(first, 2)), 3), first);
  assert.equal(peakBytes({ name: "loop", inputs: { x }, outputs: { y } }, none), 4 * 400);
});

test("frozen weights and nodes that no output needs weigh nothing", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 10]);
  const unused = exp(exp(x));
  const y = matmul(x, graph.weight("w", [10, 5]));
  assert.equal(peakBytes({ name: "weights", inputs: { x }, outputs: { y } }, none), 80 + 40);
  assert.equal(unused.shape.length, 2);
});

test("sizes known at run time only are asked for, and integers weigh what they take", () => {
  const graph = new Graph();
  const rows = graph.symbol("rows");
  const x = graph.input("x", "int64", [rows, 2]);
  assert.equal(
    peakBytes({ name: "rows", inputs: { x }, outputs: { x } }, ({ symbol }) => (symbol === "rows0" ? 7 : 0)),
    112,
  );
});
