/** Inputs that an adversary has changed, as training against one needs them. */
import { gradients } from "../../../tensor/autodiff.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { add, clip, scale, sub } from "../../../tensor/ops/arithmetic.ts";
import { detach, less } from "../../../tensor/ops/discrete.ts";

/**
 * Projected gradient ascent in the maximum norm: steps of 2.5·ε ÷ steps along the sign of the loss's slope, never further
 * than ε from where it began.
 *
 * @param x in [0, 1]
 * @returns of that shape, in [0, 1]; no gradient passes through it
 */
export function changedBy(
  { x, epsilon, steps }: { readonly x: Tensor; readonly epsilon: number; readonly steps: number },
  lossAt: (x: Tensor) => Tensor,
): Tensor {
  const zero = x.node.graph.constant([0], [1]);
  let changed = detach(x);
  for (let step = 0; step < steps; step++) {
    const [slope] = gradients(lossAt(changed), [changed]);
    const sign = sub(less(zero, slope!), less(slope!, zero));
    const away = clip(sub(add(changed, scale(sign, (2.5 * epsilon) / steps)), x), -epsilon, epsilon);
    changed = detach(clip(add(x, away), 0, 1));
  }
  return changed;
}
