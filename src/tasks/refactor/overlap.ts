/** How much of what the dense model does an expert would do. */
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add, addScalar, div, neg, reduceSum } from "../../tensor/ops/arithmetic.ts";
import { minimum } from "../../tensor/ops/discrete.ts";
import { matmul } from "../../tensor/ops/matrix.ts";

/**
 * Σ over layers of the share of |act| that lies in the channels of each mask.
 *
 * @param channels act of each layer, `[tokens, channels]`
 * @param masks of each layer, `[experts, channels]`
 * @returns `[tokens, experts]`, from 0 to the number of layers; carries no gradient
 */
export function coveredShare(channels: readonly Tensor[], masks: readonly Tensor[]): Tensor {
  return channels
    .map((act, layer) => {
      const size = magnitudeOf(act);
      // Where nothing fires, nothing is covered.
      const whole = addScalar(reduceSum(size, [1], true), 1e-30);
      return div(matmul(size, masks[layer]!, { transposeB: true }), whole);
    })
    .reduce((a, b) => add(a, b));
}

/** |x|; carries no gradient. */
export const magnitudeOf = (x: Tensor): Tensor => neg(minimum(x, neg(x)));
