import assert from "node:assert/strict";
import { test } from "node:test";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { peakBytes } from "../../../src/tensor/graph/footprint.ts";
import { Graph, reachable } from "../../../src/tensor/graph/graph.ts";
import type { Node, Tensor } from "../../../src/tensor/graph/ir.ts";
import { add, cast, exp, mul, reduceSum, square } from "../../../src/tensor/ops/arithmetic.ts";
import { gatherRows, topK } from "../../../src/tensor/ops/index-ops.ts";
import { matmul } from "../../../src/tensor/ops/matrix.ts";
import { rmsNorm } from "../../../src/tensor/ops/nn.ts";

/** Layers of `[10, 4] → [10, 100] → [10, 4]` with a vector of parameters each, a loss, and the slopes of all vectors. */
function deep(layers: number, recomputes: boolean) {
  const graph = new Graph({ recomputes });
  const x = graph.input("x", "float32", [10, 4]);
  const vectors = Array.from({ length: layers }, (_, layer) => graph.input(`v${layer}`, "float32", [4]));
  let h = x;
  for (const [layer, vector] of vectors.entries()) {
    h = graph.segment(() => {
      const wide = exp(matmul(rmsNorm(h, vector, 1e-5), graph.weight(`up${layer}`, [4, 100])));
      return add(h, matmul(square(wide), graph.weight(`down${layer}`, [100, 4])));
    });
  }
  const slopes = gradients(reduceSum(h, [0, 1]), vectors);
  const named = (prefix: string, tensors: readonly Tensor[]) =>
    Object.fromEntries(tensors.map((tensor, at) => [`${prefix}${at}`, tensor]));
  return { program: { name: "deep", inputs: { x, ...named("v", vectors) }, outputs: named("d", slopes) }, slopes };
}

const peak = (layers: number, recomputes: boolean): number =>
  peakBytes(deep(layers, recomputes).program, () => assert.fail("all sizes are known"));

test("with each further layer memory grows by what leaves it, and not by what is in it", () => {
  // Between layers lies [10, 4], and a vector is an input; within is [10, 100], and more.
  const outside = 4 * (10 * 4 + 4);
  assert.equal(peak(9, true) - peak(8, true), outside);
  assert.ok(peak(9, false) - peak(8, false) >= outside + 4 * 10 * 100);
});

test("a layer is not begun again before all slopes of the layer above are there", () => {
  const { slopes } = deep(4, true);
  for (let layer = 0; layer < 3; layer++) {
    const needed = new Set<Node>(reachable([slopes[layer]!]));
    assert.ok(needed.has(slopes[layer + 1]!.node), `layer ${layer}`);
  }
});

test("whole numbers, and what only they and base weights make, are not computed again", () => {
  const graph = new Graph({ recomputes: true });
  const x = graph.input("x", "float32", [3, 8]);
  const loss = graph.segment(() => {
    const { values, indices } = topK(exp(x), 2);
    const chosen = gatherRows(graph.weight("table", [8]), indices);
    return reduceSum(square(mul(mul(values, chosen), cast(indices, "float32"))), [0, 1]);
  });
  const [slope] = gradients(loss, [x]);
  const count = (name: string) => reachable([loss, slope!]).filter(({ op }) => op.name === name).length;
  assert.deepEqual(["exp", "topK", "gatherRows", "cast", "after"].map(count), [2, 2, 1, 1, 1]);
});

test("a graph that keeps its layers has none", () => {
  const { slopes } = deep(2, false);
  assert.ok(reachable(slopes).every(({ op, segment }) => op.name !== "after" && segment === null));
});
