/**
 * LoRA-FAIR's residual E of an averaged B, which brings (B + E)·A nearer to a target ΔW; all with numbers of thin shapes:
 *
 *   M = ΔW·Aᵀ,   G = A·Aᵀ,   ⟨(B + E)·A, ΔW⟩ = ⟨B + E, M⟩,   ‖(B + E)·A‖² = ⟨(B + E)·G, B + E⟩
 */
import { type ProductSum, squaredNorm, timesTransposed } from "./products.ts";
import { svd } from "./svd.ts";

export interface ResidualOptions {
  /** `l2-closed` minimises ‖ΔW − (B + E)·A‖² + λ·‖E‖². `cosine-sgd` goes down 1 − cos(ΔW, (B + E)·A) + λ·‖E‖² from E = 0. */
  readonly solver: "l2-closed" | "cosine-sgd";
  /** λ; in `l2-closed` in units of the mean eigenvalue of G. */
  readonly lambda: number;
  readonly steps: number;
  readonly rate: number;
}

export interface ResidualProblem {
  /** ΔW ÷ `weight` */
  readonly target: ProductSum;
  readonly weight: number;
  /** Rows of A. */
  readonly a: readonly Float64Array[];
  /** `[outputs, rank]` */
  readonly b: Float64Array;
}

/** E of each problem, `[outputs, rank]`. */
export const residualsOf = ({
  problems,
  options,
}: {
  readonly problems: readonly ResidualProblem[];
  readonly options: ResidualOptions;
}): readonly Float64Array[] => problems.map((problem) => residualOf(problem, options));

function residualOf({ target, weight, a, b }: ResidualProblem, options: ResidualOptions): Float64Array {
  const gram = a.map((row) => Float64Array.from(a, (other) => dot(row, other)));
  const moment = timesTransposed(target, a).map((value) => value / weight);
  if (options.solver === "l2-closed") return closed(a, gram, moment, b, options.lambda);
  return descended(gram, moment, Math.sqrt(squaredNorm(target)) / weight, b, options);
}

/** E = (M − B·G)·(G + λI)⁻¹, by the singular values of A; the pseudo-inverse where λ is 0. */
function closed(
  a: readonly Float64Array[],
  gram: readonly Float64Array[],
  moment: Float64Array,
  b: Float64Array,
  relative: number,
): Float64Array {
  const rank = a.length;
  const lambda = (relative * gram.reduce((trace, row, q) => trace + row[q]!, 0)) / rank;
  const { sigma, right } = svd(a, null, rank);
  const left = timesSymmetric(b, gram).map((value, i) => moment[i]! - value);
  const residual = new Float64Array(b.length);
  for (const [i, vector] of right.entries()) {
    for (let row = 0; row < b.length; row += rank) {
      const share = dot(left.subarray(row, row + rank), vector) / (sigma[i]! ** 2 + lambda);
      for (let q = 0; q < rank; q++) residual[row + q]! += share * vector[q]!;
    }
  }
  return residual;
}

function descended(
  gram: readonly Float64Array[],
  moment: Float64Array,
  length: number,
  b: Float64Array,
  { lambda, steps, rate }: ResidualOptions,
): Float64Array {
  const residual = new Float64Array(b.length);
  const gradient = new Float64Array(b.length);
  for (let step = 0; length > 0 && step < steps; step++) {
    if (cosineLoss(gram, moment, length, b, residual, lambda, gradient) === null) break;
    for (let i = 0; i < residual.length; i++) residual[i]! -= rate * gradient[i]!;
  }
  return residual;
}

/**
 * 1 − cos + λ·‖E‖², and its gradient by E.
 *
 * @internal
 * @param length ‖ΔW‖
 * @param gradient written into
 * @returns null where (B + E)·A is zero and has no direction
 */
export function cosineLoss(
  gram: readonly Float64Array[],
  moment: Float64Array,
  length: number,
  b: Float64Array,
  residual: Float64Array,
  lambda: number,
  gradient: Float64Array,
): number | null {
  const rank = gram.length;
  let square = 0;
  let along = 0;
  let size = 0;
  for (let row = 0; row < b.length; row += rank) {
    for (let q = 0; q < rank; q++) {
      // (B + E)·G, for which the gradient is the place.
      let turned = 0;
      for (let p = 0; p < rank; p++) turned += (b[row + p]! + residual[row + p]!) * gram[p]![q]!;
      const corrected = b[row + q]! + residual[row + q]!;
      gradient[row + q] = turned;
      square += turned * corrected;
      along += moment[row + q]! * corrected;
      size += residual[row + q]! ** 2;
    }
  }
  if (!(square > 0)) return null;
  const own = Math.sqrt(square);
  const cosine = along / (own * length);
  for (let i = 0; i < gradient.length; i++) {
    gradient[i] = (cosine * gradient[i]!) / square - moment[i]! / (own * length) + 2 * lambda * residual[i]!;
  }
  return 1 - cosine + lambda * size;
}

/** X·G, `[rows, rank]`. */
function timesSymmetric(x: Float64Array, gram: readonly Float64Array[]): Float64Array {
  const rank = gram.length;
  const product = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += rank) {
    for (let q = 0; q < rank; q++) {
      let sum = 0;
      for (let p = 0; p < rank; p++) sum += x[row + p]! * gram[p]![q]!;
      product[row + q] = sum;
    }
  }
  return product;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
