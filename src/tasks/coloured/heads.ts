/**
 * Many heads on one representation, which predict together: a weighted sum of what each says.
 *
 *   z(x) = Σ_e c_e · head_e(x)        a head is linear, or has one hidden layer of SiLU
 *
 * Heads lie one behind the other. Linear ones are summed before they see a row; hidden layers lie beside one another, so
 * that all heads are two products whatever their number.
 */
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add, mul, silu } from "../../tensor/ops/arithmetic.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";

export interface HeadShape {
  readonly features: number;
  /** Width of the hidden layer; 0 for none. */
  readonly hidden: number;
  readonly classes: number;
}

/** Of one head: hidden matrix `[hidden, features]` and biases, then `[hidden or features, classes]` and biases. */
const partsOf = ({ features, hidden, classes }: HeadShape): readonly number[] =>
  hidden === 0 ? [features * classes, classes] : [hidden * features, hidden, hidden * classes, classes];

export const headSize = (shape: HeadShape): number => partsOf(shape).reduce((sum, part) => sum + part, 0);

/**
 * @param x `[clients, rows, features]`
 * @param heads `[clients, heads, headSize]`
 * @param shares c, `[clients, 1, heads]`
 * @returns `[clients, rows, classes]`
 */
export function predictTogether(x: Tensor, heads: Tensor, shares: Tensor, shape: HeadShape): Tensor {
  const { features, hidden, classes } = shape;
  const [clients, count] = heads.shape as [number, number];
  if (hidden === 0) {
    const [weight, bias] = split(matmul(shares, heads), -1, partsOf(shape)) as [Tensor, Tensor];
    return add(matmul(x, reshape(weight, [clients, features, classes])), bias);
  }
  const [first, firstBias, second, secondBias] = split(heads, -1, partsOf(shape)) as [Tensor, Tensor, Tensor, Tensor];
  const width = count * hidden;
  const read = matmul(x, reshape(first, [clients, width, features]), { transposeB: true });
  const said = silu(add(read, reshape(firstBias, [clients, 1, width])));
  const weighed = mul(second, reshape(shares, [clients, count, 1]));
  return add(matmul(said, reshape(weighed, [clients, width, classes])), matmul(shares, secondBias));
}
