import assert from "node:assert/strict";
import { test } from "node:test";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { Shape } from "../../../src/tensor/graph/shape.ts";
import { add, broadcastLike, reduceMean, reduceSum, swiglu } from "../../../src/tensor/ops/arithmetic.ts";
import { gatherRows, minusOneAt, scatterAddRows, topK } from "../../../src/tensor/ops/index-ops.ts";
import { concat, reshape, split, transpose } from "../../../src/tensor/ops/layout.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";
import { mergeFactors } from "../../../src/tensor/ops/merge-factors.ts";
import { causalAttention, crossEntropy, rmsNorm, rotary } from "../../../src/tensor/ops/nn.ts";
import { groupSlots, padGroups, unpadGroups } from "../../../src/tensor/ops/padded.ts";
import { groupedMatmul, sortByGroup } from "../../../src/tensor/ops/ragged.ts";

const graph = new Graph();
const rows = graph.symbol("tokens");
const float = (...shape: Shape) => graph.input(`float ${JSON.stringify(shape)}`, "float32", shape);
const integer = (...shape: Shape) => graph.input(`integer ${JSON.stringify(shape)}`, "int64", shape);
const { positions } = sortByGroup(integer(6), 2);
const ragged = gatherRows(float(6, 4), positions);

/** Every message names the operation, what it expected, and the shapes that came. */
const mistakes: { build: () => unknown; message: string }[] = [
  { build: () => add(float(2, 3), float(2)), message: "add: expected shapes that broadcast, got [2, 3] and [2]" },
  {
    build: () => add(float(rows, 3), float(2, 3)),
    message: "add: expected shapes that broadcast, got [tokens0, 3] and [2, 3]",
  },
  { build: () => swiglu(float(2, 3), float(3)), message: "swiglu: expected two equal shapes, got [2, 3] and [3]" },
  {
    build: () => broadcastLike(float(2, 3), float(3)),
    message: "broadcastLike: expected a shape that stretches to the other, got [2, 3] and [3]",
  },
  { build: () => reduceSum(float(2, 3), [2]), message: "reduceSum: expected a shape with axis 2, got [2, 3]" },
  {
    build: () => reduceSum(ragged, [0]),
    message: "reduceSum: expected axes within the rows of a ragged tensor, got [rows1/2, 4]",
  },
  {
    build: () => reduceMean(float(rows, 3), [0]),
    message: "reduceMean: expected axes of static size, got [tokens0, 3]",
  },
  { build: () => reshape(float(2, 3), [4]), message: "reshape: expected equally many elements, got [2, 3] and [4]" },
  {
    build: () => reshape(float(rows, 3), [6]),
    message: "reshape: expected equally many elements, got [tokens0, 3] and [6]",
  },
  { build: () => transpose(float(2, 3), [0, 0]), message: "transpose: [0,0] does not permute 2 axes" },
  {
    build: () => concat([float(2, 3), float(2, 4)], 0),
    message: "concat: expected shapes that differ in axis 0 alone, got [2, 3] and [2, 4]",
  },
  {
    build: () => groupSlots(positions, integer(6), { groups: 2, parts: 4 }),
    message: "groupSlots: expected sorted positions and labels in 4 parts, got [rows1/2] and [6]",
  },
  {
    build: () => padGroups(float(6, 4), groupSlots(positions, integer(6), { groups: 2, parts: 3 })),
    message: "padGroups: expected ragged rows and a slot for each, got [6, 4] and [rows1/2]",
  },
  {
    build: () => unpadGroups(float(6, 4), groupSlots(positions, integer(6), { groups: 2, parts: 3 })),
    message: "unpadGroups: expected padded groups and ragged slots, got [6, 4] and [rows1/2]",
  },
  {
    build: () => matmul(float(5, 2, 3, 4), float(3, 4, 2)),
    message: "matmul: expected matrices for a·b with equal leading axes, got [5, 2, 3, 4] and [3, 4, 2]",
  },
  {
    build: () => matmul(float(5, 3, 4, 2), float(3, 4, 2), { transposeA: true }),
    message: "matmul: expected matrices for aᵀ·b with equal leading axes, got [5, 3, 4, 2] and [3, 4, 2]",
  },
  { build: () => split(float(5), 0, [2, 2]), message: "split: expected axis 0 of size 4, got [5]" },
  {
    build: () => matmul(float(2, 3), float(2, 3)),
    message: "matmul: expected matrices for a·b with equal leading axes, got [2, 3] and [2, 3]",
  },
  {
    build: () => matmul(float(2, 3), float(2, 3), { transposeA: true, transposeB: true }),
    message: "matmul: expected matrices for aᵀ·bᵀ with equal leading axes, got [2, 3] and [2, 3]",
  },
  {
    build: () => matmul(float(2, 2, 3), float(3, 3, 2)),
    message: "matmul: expected matrices for a·b with equal leading axes, got [2, 2, 3] and [3, 3, 2]",
  },
  {
    build: () => gatherRows(ragged, integer(2)),
    message: "gatherRows: expected a table that is not ragged, got [rows1/2, 4]",
  },
  {
    build: () => scatterAddRows(float(3, 4), integer(2), 5),
    message: "scatterAddRows: expected one row per index, got [3, 4] and [2]",
  },
  {
    build: () => scatterAddRows(float(2, 4), integer(2), 5, float(4, 5)),
    message: "scatterAddRows: expected rows to add to, got [5, 4] and [4, 5]",
  },
  { build: () => topK(float(2, 3), 4), message: "topK: expected at least 4 columns, got [2, 3]" },
  { build: () => topK(float(2, 3), 0), message: "topK: expected at least 0 columns, got [2, 3]" },
  {
    build: () => minusOneAt(float(2, 3), integer(3)),
    message: "minusOneAt: expected one column per row, got [2, 3] and [3]",
  },
  {
    build: () => causalAttention(float(3, 4), float(2, 4), float(2, 4), 1),
    message:
      "causalAttention: expected queries [.., n · length, size], keys [.., length, size] and values " +
      "[.., length, width], got [3, 4] and [2, 4] and [2, 4]",
  },
  {
    build: () => crossEntropy(float(2, 3), integer(3)),
    message: "crossEntropy: expected one target per row of logits, got [2, 3] and [3]",
  },
  {
    build: () => rmsNorm(float(2, 3), float(2), 1e-5),
    message: "rmsNorm: expected one weight per column, got [2, 3] and [2]",
  },
  {
    build: () => rotary(float(2, 3, 6), 2, 1e4),
    message: "rotary: expected [rows, length, 2 heads of even size], got [2, 3, 6]",
  },
  { build: () => sortByGroup(integer(2, 3), 2), message: "sortByGroup: expected one axis, got [2, 3]" },
  {
    build: () => groupedMatmul(float(6, 4), float(2, 4, 3)),
    message: "groupedMatmul: expected ragged rows and one [in, out] matrix per group, got [6, 4] and [2, 4, 3]",
  },
  {
    build: () => groupedMatmul(ragged, float(3, 4, 3)),
    message: "groupedMatmul: expected ragged rows and one [in, out] matrix per group, got [rows1/2, 4] and [3, 4, 3]",
  },
  {
    build: () => groupedMatmul(ragged, float(2, 4, 3), { transposed: true }),
    message: "groupedMatmul: expected ragged rows and one [out, in] matrix per group, got [rows1/2, 4] and [2, 4, 3]",
  },
  {
    build: () => groupedMatmul(ragged, float(2, 4, 3), { base: ragged }),
    message: "groupedMatmul: expected a base shaped like the product, got [rows1/2, 3] and [rows1/2, 4]",
  },
  {
    build: () => mergeFactors(float(2, 4, 3), float(2, 1, 4), float(2, 1, 3), 1),
    message:
      "mergeFactors: expected weights [groups, in, out] and factors [groups, rank, in] and [groups, out, rank], " +
      "got [2, 4, 3] and [2, 1, 4] and [2, 1, 3]",
  },
  { build: () => graph.constant([1, 2, 3], [2]), message: "constant: expected 2 values, got 3" },
];

for (const { build, message } of mistakes) {
  test(`a mistake in a shape is found while building: ${message}`, () => {
    assert.throws(build, { name: "InvariantError", message });
  });
}

test("tensors of two graphs do not meet", () => {
  assert.throws(() => add(float(2), new Graph().input("x", "float32", [2])), /add: input belongs to another graph/);
});

test("shapes follow NumPy: sizes match from the right, 1 stretches, negative axes count from the end", () => {
  assert.deepEqual(add(float(4, 1, 3), float(2, 1)).shape, [4, 2, 3]);
  assert.deepEqual(add(float(rows, 3), float(1, 3)).shape, [rows, 3]);
  assert.deepEqual(reduceSum(float(4, 2, 3), [-1, 0]).shape, [2]);
  assert.deepEqual(reduceSum(float(4, 2, 3), [-1], true).shape, [4, 2, 1]);
  assert.deepEqual(concat([float(2, 3), float(2, 4)], -1).shape, [2, 7]);
  assert.deepEqual(
    split(float(2, 5), -1, [1, 4]).map(({ shape }) => shape),
    [
      [2, 1],
      [2, 4],
    ],
  );
});

test("what changes nothing adds no node", () => {
  const x = float(2, 3);
  assert.equal(reshape(x, [2, 3]), x);
  assert.equal(broadcastLike(x, x), x);
  assert.equal(reduceSum(x, []), x);
  assert.equal(concat([x], 0), x);
  assert.equal(split(x, 0, [2])[0], x);
  assert.equal(reshape(reshape(x, [6]), [3, 2]), reshape(x, [3, 2]));
});
