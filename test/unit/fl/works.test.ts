import { test } from "node:test";
import { doWork } from "../../../src/fl/works.ts";
import { assertClose } from "../../support/fl-updates.ts";

test("inner products of vectors of length 1 are cosines, and a zero vector has none with anything", () => {
  const { products } = doWork("gram", {
    vectors: [Float64Array.of(3, 4), Float64Array.of(0, 0), Float64Array.of(-8, 6), Float64Array.of(10, 0)],
  });
  // (3·10 + 4·0) ÷ (5·10); (3, 4) and (−8, 6) stand at right angles.
  const expected = [
    [1, 0, 0, 0.6],
    [0, 0, 0, 0],
    [0, 0, 1, -0.8],
    [0.6, 0, -0.8, 1],
  ];
  for (const [i, row] of expected.entries()) {
    for (const [j, value] of row.entries()) assertClose(products[i]![j]!, value, 1e-15);
  }
});
