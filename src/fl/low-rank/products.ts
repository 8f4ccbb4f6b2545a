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
  /** Column by column, `[inputs, outputs]`, as matrices lie in programs. */
  matrix: Float64Array | null;
}

type Factors = Pick<LowRankPair, "outputs" | "inputs" | "rank" | "a" | "b">;
type Numbers = Float32Array | Float64Array;

export const emptySum = ({ outputs, inputs }: Pick<Factors, "outputs" | "inputs">): ProductSum => ({
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
function columnOf(values: Numbers, { b, outputs, rank }: Factors, q: number): Float64Array {
  const column = new Float64Array(outputs);
  for (let i = 0; i < outputs; i++) column[i] = values[b + i * rank + q]!;
  return column;
}

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
  if (weight === 0) return;
  for (let q = 0; q < components; q++) {
    const column = columnOf(values, pair, q);
    if (column.every((value) => value === 0)) continue;
    const row = new Float64Array(pair.inputs);
    for (let j = 0; j < row.length; j++) row[j] = weight * values[pair.a + q * pair.inputs + j]!;
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

/** A matrix of its own, column by column. */
export function matrixOf({ outputs, inputs, left, right, matrix }: ProductSum): Float64Array {
  const product = matrix === null ? new Float64Array(outputs * inputs) : matrix.slice();
  for (let q = 0; q < left.length; q++) addOuter(product, left[q]!, right[q]!);
  return product;
}

function addOuter(matrix: Float64Array, column: Float64Array, row: Float64Array): void {
  const outputs = column.length;
  for (let j = 0; j < row.length; j++) {
    const factor = row[j]!;
    const start = j * outputs;
    for (let i = 0; i < outputs; i++) matrix[start + i]! += factor * column[i]!;
  }
}

/** ‖Σ‖² */
export function squaredNorm({ left, right, matrix }: ProductSum): number {
  return matrix === null ? squaredNormOf(left, right) : dot(matrix, matrix);
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
export function timesTransposed(sum: ProductSum, rows: readonly Numbers[]): Float64Array {
  const { outputs, inputs, left, right, matrix } = sum;
  const product = new Float64Array(outputs * rows.length);
  for (const [r, row] of rows.entries()) {
    const add = (factor: number, column: Float64Array) => {
      for (let i = 0; i < outputs; i++) product[i * rows.length + r]! += factor * column[i]!;
    };
    for (const [q, column] of left.entries()) add(dot(right[q]!, row), column);
    if (matrix === null) continue;
    for (let j = 0; j < inputs; j++) add(row[j]!, matrix.subarray(j * outputs, (j + 1) * outputs));
  }
  return product;
}

/** The largest singular triples. */
export function triplesOf({ outputs, inputs, left, right, matrix }: ProductSum, most: number): Triples {
  if (matrix === null) return svd(left, right, most);
  const columns = Array.from({ length: inputs }, (_, j) => matrix.subarray(j * outputs, (j + 1) * outputs));
  return svd(columns, null, most);
}

function dot(a: Numbers, b: Numbers): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
