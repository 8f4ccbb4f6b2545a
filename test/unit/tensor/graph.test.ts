import assert from "node:assert/strict";
import { test } from "node:test";
import protobuf from "protobufjs";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { OnnxEmitter } from "../../../src/tensor/executors/onnx-emitter.ts";
import { encodeModel } from "../../../src/tensor/executors/onnx-proto.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { OnnxLimits, Program } from "../../../src/tensor/graph/ir.ts";
import { add, exp, mul, neg, reduceSum, scale, sqrt } from "../../../src/tensor/ops/arithmetic.ts";
import { gatherRows, scatterAddRows } from "../../../src/tensor/ops/index-ops.ts";
import { reshape } from "../../../src/tensor/ops/layout.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";
import { groupedMatmul, sortByGroup } from "../../../src/tensor/ops/ragged.ts";

const schema = protobuf.parse(`
syntax = "proto2";
message Node { repeated string output = 2; optional string op_type = 4; }
message Graph { repeated Node node = 1; }
message Model { optional Graph graph = 7; }`).root;

/** The operators of the model that ONNX Runtime would get, in order. */
function operators(program: Program, limits: OnnxLimits = {}): string[] {
  const model = schema.lookupType("Model").decode(encodeModel(new OnnxEmitter(null, limits).emit(program)));
  const { graph } = model.toJSON() as { graph: { node?: { opType: string }[] } };
  return (graph.node ?? []).map(({ opType }) => opType);
}

test("building a node twice returns the first one", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 3]);
  const y = graph.input("y", "float32", [3, 2]);
  const before = add(matmul(x, y), graph.constant([1, 2], [2]));
  const size = graph.nodes.length;
  assert.equal(add(matmul(x, y), graph.constant([1, 2], [2])), before);
  assert.equal(graph.input("x", "float32", [2, 3]), x);
  assert.equal(graph.nodes.length, size);
});

test("nodes that differ in an operand, an output or an attribute are two", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 2]);
  const y = graph.input("y", "float32", [2, 2]);
  assert.notEqual(matmul(x, y), matmul(y, x));
  assert.notEqual(matmul(x, y), matmul(x, y, { transposeA: true }));
  assert.notEqual(scale(x, 2), scale(x, -2));
  assert.notEqual(reduceSum(x, [0]), reduceSum(x, [0], true));
  const limits = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
  assert.equal(new Set(limits.map((limit) => graph.constant([limit], [1]))).size, 3);
  // Every sort has rows of its own: they are as many as its labels say.
  const labels = graph.input("labels", "int64", [4]);
  assert.notEqual(sortByGroup(labels, 2).positions.shape[0], sortByGroup(labels, 2).positions.shape[0]);
});

test("common subexpressions run once, and what no output needs does not run", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [3]);
  const wanted = mul(sqrt(x), sqrt(x));
  neg(exp(wanted));
  assert.deepEqual(operators({ name: "lean", inputs: { x }, outputs: { wanted } }), ["Sqrt", "Mul"]);
});

test("the gradient alone does not compute the loss", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [3]);
  const loss = reduceSum(exp(x), [0], true);
  const [slope] = gradients(loss, [x]);
  assert.equal(
    operators({ name: "both", inputs: { x }, outputs: { loss } }).filter((op) => op === "ReduceSum").length,
    1,
  );
  assert.ok(!operators({ name: "slope", inputs: { x }, outputs: { slope: slope! } }).includes("ReduceSum"));
});

/** Three experts on `rows` rows of `width` numbers. */
function expertOperators(rows: number, width: number): (op: string) => number {
  const graph = new Graph();
  const x = graph.input("x", "float32", [rows, width]);
  const labels = graph.input("labels", "int64", [rows]);
  const up = graph.input("up", "float32", [3, width, 5]);
  const down = graph.input("down", "float32", [3, 5, width]);
  const { positions } = sortByGroup(labels, 3);
  const hidden = sqrt(groupedMatmul(gatherRows(x, positions), up));
  const y = scatterAddRows(groupedMatmul(hidden, down), positions, rows);
  const emitted = operators({ name: "experts", inputs: { x, labels, up, down }, outputs: { y } });
  return (op) => emitted.filter((other) => other === op).length;
}

test("experts are one matrix product per group, and what is done to every row is done once for all groups", () => {
  const count = expertOperators(6, 4);
  assert.deepEqual([count("MatMul"), count("Sqrt"), count("Gather") - 1, count("Concat")], [6, 1, 1, 2]);
});

test("rows of more than a megabyte are gathered group by group, and not cut afterwards", () => {
  const count = expertOperators(300, 1_024);
  assert.deepEqual([count("MatMul"), count("Gather") - 1], [6, 3]);
});

test("a stretched operand is not materialised where the other has the full shape", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 3]);
  // The derivative of the sum stretches one number over x, and the product stretches it anyway.
  const loss = reduceSum(mul(x, graph.input("y", "float32", [2, 3])), [0, 1]);
  const [slope] = gradients(reshape(loss, [1]), [x]);
  assert.ok(!operators({ name: "slim", inputs: { x }, outputs: { slope: slope! } }).includes("Expand"));
});

test("the shapes of rows of groups are hidden where that makes sessions sooner, and from no GPU", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [4, 3]);
  const { positions } = sortByGroup(graph.input("labels", "int64", [4]), 2);
  const y = groupedMatmul(gatherRows(x, positions), graph.input("w", "float32", [2, 5, 3]), { transposed: true });
  const labels = positions.node.inputs[0]!;
  const program = { name: "grouped", inputs: { x, labels, w: y.node.inputs[1]! }, outputs: { y } };
  const [hidden, known] = [operators(program), operators(program, { shapes: true })];
  // What comes after the rows were found has no rank before a run: no Gemm, whose result is known to be a matrix.
  assert.equal(hidden[hidden.indexOf("NonZero") + 1], "Reshape");
  assert.deepEqual([hidden.includes("Gemm"), hidden.filter((op) => op === "FusedMatMul").length], [false, 2]);
  assert.deepEqual([known.includes("FusedMatMul"), known.filter((op) => op === "Gemm").length], [false, 2]);
});
