/** Terms of a language model's objective that keep a router from choosing few experts, and a model from being too sure. */
import type { StepContext } from "../../tasks/steps.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import {
  add,
  cast,
  div,
  exp,
  log,
  mul,
  reduceMax,
  reduceMean,
  reduceSum,
  scale,
  sub,
} from "../../tensor/ops/arithmetic.ts";
import { detach } from "../../tensor/ops/discrete.ts";
import { reshape } from "../../tensor/ops/layout.ts";

/**
 * Σ over layers of E · Σ_e f_e · P_e: f_e is the share of choices that fell on an expert, without a gradient, and P_e its
 * mean probability over tokens. Least, 1 a layer, where all are used alike. Fedus et al., "Switch Transformers", 2022,
 * https://arxiv.org/abs/2101.03961.
 *
 * @param experts how many there are in each layer, `[1]` each
 */
export function loadBalance({ pass }: StepContext, experts: readonly Tensor[]): Tensor {
  const present = pass.tokens!();
  const tokens = reduceSum(present, [0, 1], true);
  const layers = pass.routers!.map(({ probabilities, counts }, layer) => {
    const chosen = detach(cast(counts, "float32"));
    const share = div(chosen, reduceSum(chosen, [0], true));
    const mean = div(reduceSum(mul(probabilities, present), [0]), reshape(tokens, [1]));
    return mul(reduceSum(mul(share, mean), [0], true), experts[layer]!);
  });
  return layers.reduce((a, b) => add(a, b));
}

/**
 * Cross-entropy with targets of 1 − ε on the right class and ε spread over all, `[targets]`. Szegedy et al., "Rethinking
 * the Inception Architecture", 2016, https://arxiv.org/abs/1512.00567.
 */
export function smoothed({ losses, logits }: StepContext["pass"], epsilon: number): Tensor {
  if (epsilon === 0) return losses;
  const most = detach(reduceMax(logits, [1], true));
  const sums = log(reduceSum(exp(sub(logits, most)), [1], true));
  const everywhere = reshape(sub(add(sums, most), reduceMean(logits, [1], true)), losses.shape);
  return add(scale(losses, 1 - epsilon), scale(everywhere, epsilon));
}
