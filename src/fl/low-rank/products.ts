/**
 * Sums of low-rank products of one pair, Σ_k w_k·B_k·A_k, in float64: kept as outer products while those are fewer than the
 * matrix has rows or columns, and as the matrix itself from then on.
 */
import type { LowRankPair } from "../../tasks/layout.ts";
import { svd, type Triples } from "./svd.ts";

export interface ProductSum {
  readonly outputs: number;
  readonly inputs: number;
  /** Columns of B, and rows of A times their weight; none once there is a matrix. */
  readonly left: Float64Array[];
  readonly right: Float64Array[];
  /** `[outputs, inputs]` */
  matrix: Float64Array | null;
}

type Factors = Pick<LowRankPair, "outputs" | "inputs" | "rank" | "a" | "b">;
export type Numbers = Float32Array | Float64Array;

export const emptySum = ({ outputs, inputs }: Factors): ProductSum => ({
  outputs,
  inputs,
  left: [],
  right: [],
  matrix: null,
});

/** Row q of A, `[inputs]`. */
const rowOf = (values: Numbers, { a, inputs }: Factors, q: number): Numbers =>
  values.subarray(a + q * inputs, a + (q + 1) * inputs);

/** Column q of B, `[outputs]`. */
const columnOf = (values: Numbers, { b, outputs, rank }: Factors, q: number): Float64Array =>
  Float64Array.from({ length: outputs }, (_, i) => values[b + i * rank + q]!);

/**
 * Adds `weight` · B·A of the first components. The weight goes onto A alone, so it counts once.
 *
 * @param values where `pair` says that A and B lie
 */
export function addProduct(
  sum: ProductSum,
  values: Numbers,
  pair: Factors,
  weight: number,
  components = pair.rank,
): void {
  for (let q = 0; q < components; q++) {
    const column = columnOf(values, pair, q);
    if (weight === 0 || column.every((value) => value === 0)) continue;
    const row = Float64Array.from(rowOf(values, pair, q), (value) => weight * value);
    if (sum.matrix !== null) addOuter(sum.matrix, column, row);
    else {
      sum.left.push(column);
      sum.right.push(row);
    }
  }
  if (sum.left.length >= Math.min(sum.outputs, sum.inputs)) {
    sum.matrix = matrixOf(sum);
    sum.left.length = 0;
    sum.right.length = 0;
  }
}

/** `[outputs, inputs]`, row-major. */
export function matrixOf({ outputs, inputs, left, right, matrix }: ProductSum): Float64Array {
  const product = matrix === null ? new Float64Array(outputs * inputs) : matrix.slice();
  for (const [q, column] of left.entries()) addOuter(product, column, right[q]!);
  return product;
}

function addOuter(matrix: Float64Array, column: Float64Array, row: Float64Array): void {
  const inputs = row.length;
  for (let i = 0; i < column.length; i++) {
    const factor = column[i]!;
    if (factor === 0) continue;
    for (let j = 0; j < inputs; j++) matrix[i * inputs + j]! += factor * row[j]!;
  }
}

/** ‖Σ‖² */
export function squaredNorm({ left, right, matrix }: ProductSum): number {
  if (matrix !== null) return matrix.reduce((sum, value) => sum + value * value, 0);
  return squaredNormOf(left, right);
}

/** ‖B·A‖² of the first components, as the sum of the entries of (BᵀB) ∘ (AAᵀ). */
export function squaredProductNorm(values: Numbers, pair: Factors, components = pair.rank): number {
  const of = <T>(each: (q: number) => T) => Array.from({ length: components }, (_, q) => each(q));
  return squaredNormOf(
    of((q) => columnOf(values, pair, q)),
    of((q) => rowOf(values, pair, q)),
  );
}

function squaredNormOf(left: readonly Numbers[], right: readonly Numbers[]): number {
  let sum = 0;
  for (let p = 0; p < left.length; p++) {
    sum += dot(left[p]!, left[p]!) * dot(right[p]!, right[p]!);
    for (let q = 0; q < p; q++) sum += 2 * dot(left[p]!, left[q]!) * dot(right[p]!, right[q]!);
  }
  // Products that cancel may leave less than nothing.
  return Math.max(0, sum);
}

/**
 * Σ·Aᵀ
 *
 * @param rows of A, each as long as Σ has inputs
 * @returns `[outputs, rows]`
 */
export function timesTransposed({ outputs, inputs, left, right, matrix }: ProductSum, rows: readonly Numbers[]) {
  const product = new Float64Array(outputs * rows.length);
  for (const [r, row] of rows.entries()) {
    for (const [q, column] of left.entries()) {
      const factor = dot(right[q]!, row);
      for (let i = 0; i < outputs; i++) product[i * rows.length + r]! += factor * column[i]!;
    }
    if (matrix === null) continue;
    for (let i = 0; i < outputs; i++) {
      product[i * rows.length + r] = dot(matrix.subarray(i * inputs, (i + 1) * inputs), row);
    }
  }
  return product;
}

/** The largest singular triples of each sum, at most `most` of them. */
export function triplesOf({
  sums,
  most,
}: {
  readonly sums: readonly ProductSum[];
  readonly most: number;
}): readonly Triples[] {
  return sums.map((sum) => {
    const { outputs, inputs, left, right, matrix } = sum;
    if (matrix === null) return svd(left, right, most);
    const columns = Array.from({ length: inputs }, (_, j) =>
      Float64Array.from({ length: outputs }, (_, i) => matrix[i * inputs + j]!),
    );
    return svd(columns, null, most);
  });
}

function dot(a: Numbers, b: Numbers): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
