import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { addProduct, emptySum, matrixOf, squaredNorm, timesTransposed } from "../../../src/fl/low-rank/products.ts";
import { completed, svd } from "../../../src/fl/low-rank/svd.ts";
import { byRows, layoutOfPairs, productIn } from "../../support/low-rank.ts";
import { close } from "../../support/method-goldens.ts";

const vectors = (seed: number, count: number, length: number) => {
  const draws = new Rng(seed).at("vectors").at(0);
  return Array.from({ length: count }, () => Float64Array.from({ length }, () => draws.normal()));
};
const sumOf = (left: readonly Float64Array[], right: readonly Float64Array[]) =>
  left[0]!.length === 0
    ? []
    : [...left[0]!.keys()].flatMap((i) =>
        [...right[0]!.keys()].map((j) => left.reduce((sum, column, q) => sum + column[i]! * right[q]![j]!, 0)),
      );
const dots = (all: readonly Float64Array[]) =>
  all.flatMap((a) => all.map((b) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)));
const identity = (size: number) => [...Array(size ** 2).keys()].map((i) => (i % size === Math.floor(i / size) ? 1 : 0));

for (const [title, components, outputs, inputs] of [
  ["fewer products than rows and columns", 3, 7, 5],
  ["more than either", 11, 7, 5],
  ["wide", 4, 3, 9],
  ["one", 1, 1, 1],
] as const) {
  test(`singular triples of a stack: ${title}`, () => {
    const [left, right] = [vectors(1, components, outputs), vectors(2, components, inputs)];
    const whole = sumOf(left, right);
    const rank = Math.min(components, outputs, inputs);
    const triples = svd(left, right, 99);
    assert.equal(triples.sigma.length, rank);
    assert.deepEqual(
      triples.sigma,
      triples.sigma.toSorted((a, b) => b - a),
    );
    close(sumOf(triples.left, triples.right), whole, 1e-12);
    close(dots(triples.right), identity(rank), 1e-12);
    close(
      dots(triples.left.map((vector, i) => vector.map((value) => value / triples.sigma[i]!))),
      identity(rank),
      1e-10,
    );
    for (const vector of triples.left) {
      const largest = vector.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
      assert.ok(largest > 0, "the largest entry of a left vector is positive");
    }
    // The matrix by its columns has the same triples.
    const columns = [...Array(inputs).keys()].map((j) =>
      Float64Array.from({ length: outputs }, (_, i) => whole[i * inputs + j]!),
    );
    const again = svd(columns, null, 99);
    close(again.sigma, [...triples.sigma], 1e-12);
    close(
      again.left.flatMap((vector) => [...vector]),
      triples.left.flatMap((vector) => [...vector]),
      1e-10,
    );
    // Σ σ² is the squared norm, whatever is cut off.
    const cut = svd(left, right, 2);
    close(cut.sigma, triples.sigma.slice(0, 2), 1e-12);
    const missed = sumOf(cut.left, cut.right).map((value, i) => value - whole[i]!);
    close([Math.hypot(...missed)], [Math.hypot(...triples.sigma.slice(2))], 1e-12);
  });
}

test("a sum without directions has no triples, and one of few has as many", () => {
  const zero = [new Float64Array(4), new Float64Array(4)];
  assert.deepEqual(svd(zero, vectors(1, 2, 3), 9).sigma, []);
  assert.deepEqual(svd([], [], 9).sigma, []);
  const [one] = vectors(3, 1, 4) as [Float64Array];
  const parallel = [one, one.map((value) => -3 * value), one.map((value) => value / 7)];
  assert.equal(svd(parallel, vectors(4, 3, 6), 9).sigma.length, 1);
});

test("small singular values are as exact, relative to themselves, as large ones", () => {
  const [u1, u2] = vectors(5, 2, 6) as [Float64Array, Float64Array];
  const shared = u1.reduce((sum, x, i) => sum + x * u2[i]!, 0) / u1.reduce((sum, x) => sum + x * x, 0);
  const across = u2.map((x, i) => x - shared * u1[i]!);
  const right = [Float64Array.of(1, 0, 0), Float64Array.of(0, 1, 0)];
  const { sigma } = svd([u1, across.map((value) => 1e-9 * value)], right, 9);
  const wanted = [Math.hypot(...u1), 1e-9 * Math.hypot(...across)];
  for (const [i, value] of wanted.entries()) assert.ok(Math.abs(sigma[i]! / value - 1) < 1e-7, `${sigma[i]}, ${value}`);
});

test("an orthonormal set is completed with unit vectors that it covers least", () => {
  const { right } = svd(vectors(6, 2, 4), vectors(7, 2, 5), 9);
  const all = [...right, ...completed(right, 5, 3)];
  close(dots(all), identity(5), 1e-12);
  assert.deepEqual(completed([], 3, 2), [Float64Array.of(1, 0, 0), Float64Array.of(0, 1, 0)]);
});

test("a sum of products is the same before and after it becomes a matrix", () => {
  const layout = layoutOfPairs([{ outputs: 4, inputs: 6 }], 3);
  const [pair] = layout.pairs as [(typeof layout.pairs)[0]];
  const sum = emptySum(pair);
  const expected = new Float64Array(24);
  const rows = vectors(9, 2, 6);
  for (const [client, values] of vectors(8, 4, layout.size).entries()) {
    const components = 1 + (client % 3);
    addProduct(sum, values, pair, client + 0.5, components);
    for (const [i, value] of productIn(values, pair, components).flat().entries())
      expected[i]! += (client + 0.5) * value;
    assert.equal(sum.matrix !== null, client >= 2, "it is a matrix once there are four products");
    close(byRows(matrixOf(sum), pair), [...expected], 1e-12);
    close([squaredNorm(sum)], [expected.reduce((square, value) => square + value * value, 0)], 1e-12);
    const times = [0, 1, 2, 3].flatMap((i) =>
      rows.map((row) => row.reduce((dot, x, j) => dot + x * expected[i * 6 + j]!, 0)),
    );
    close(timesTransposed(sum, rows), times, 1e-12);
  }
});
