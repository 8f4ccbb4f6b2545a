/**
 * Which expert a token should go to, from what the channels of the dense model say: what the router learns.
 *
 *   share   q = softmax(β · Σ_l |act_l|·m_l^c ÷ ‖act_l‖₁)        how much of the activation an expert's mask covers
 *   ranks   q_l = ¾·smooth(argmax o_l) + ¼·softmax(10·o_l),   o_l = i_l·(m_l^c − r_l),   summed over layers
 *           i_l: of the thresholds at ranks N−1, 4N/5, 3N/5, 2N/5 and N/5 of the signed act_l, those that a channel reaches,
 *           1 ÷ (3N) for each; N channels in the routed part m − r of the first expert, r what all experts keep;
 *           smooth: label smoothing of ½
 *
 * `ranks` is what the published code does (whether a channel that lies at a threshold reaches it is ours). Loss is the
 * cross-entropy −Σ q·log softmax(G), which is KL(q ‖ softmax G) but for what does not depend on the router.
 */
import { coveredShare } from "../../../tasks/refactor/overlap.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import {
  add,
  addScalar,
  cast,
  clip,
  div,
  exp,
  log,
  mul,
  neg,
  reduceMax,
  reduceSum,
  scale,
  sub,
} from "../../../tensor/ops/arithmetic.ts";
import { detach, integerDivide, less } from "../../../tensor/ops/discrete.ts";
import { scatterColumns, topK } from "../../../tensor/ops/index-ops.ts";
import { matmul } from "../../../tensor/ops/matrix.ts";
import { softmax } from "../../../tensor/ops/nn.ts";

/**
 * @param channels act of each layer, `[tokens, channels]`
 * @param masks of each layer, `[experts, channels]`
 * @returns q, `[tokens, experts]`, rows that sum to 1; carries no gradient
 */
export function shareTarget(channels: readonly Tensor[], masks: readonly Tensor[], beta: number): Tensor {
  return detach(softmax(scale(coveredShare(channels, masks), beta)));
}

/** @returns Σ_l q_l, `[tokens, experts]`, rows that sum to the number of layers */
export function rankTarget(channels: readonly Tensor[], masks: readonly Tensor[]): Tensor {
  return detach(
    sumOf(
      channels.map((act, layer) => {
        const routed = routedPart(masks[layer]!);
        const overlap = matmul(rankIndicator(act, routed), routed, { transposeB: true });
        const experts = overlap.shape[1] as number;
        const { values, indices } = topK(overlap, 1);
        const label = scatterColumns(addScalar(scale(values, 0), 1), indices, experts);
        const smooth = addScalar(scale(label, 0.5), 0.5 / experts);
        return add(scale(smooth, 0.75), scale(softmax(scale(overlap, 10)), 0.25));
      }),
    ),
  );
}

/** @internal m − r, `[experts, channels]`: what an expert keeps and not all experts do. */
export function routedPart(mask: Tensor): Tensor {
  const experts = mask.shape[0] as number;
  const keepers = reduceSum(mask, [0], true);
  const few = less(keepers, mask.node.graph.constant([experts - 0.5], [1]));
  return mul(mask, few);
}

/** @internal i, `[tokens, channels]`: up to 5 ÷ (3N) a channel. */
export function rankIndicator(act: Tensor, routed: Tensor): Tensor {
  const { graph } = act.node;
  const [experts, channels] = routed.shape as [number, number];
  const first = mul(routed, graph.constant([1, ...new Array<number>(experts - 1).fill(0)], [experts, 1]));
  const count = reduceSum(first, [0, 1], true);
  const places = graph.constant(
    Array.from({ length: channels }, (_, place) => place),
    [1, channels],
  );
  const sorted = topK(act, channels).values;
  const reached = [5, 4, 3, 2, 1].map((fifths) => {
    const rank =
      fifths === 5 ? addScalar(count, -1) : cast(integerDivide(cast(scale(count, fifths), "int64"), 5), "float32");
    const away = sub(places, rank);
    const isThere = mul(less(away, graph.constant([0.5], [1])), less(neg(away), graph.constant([0.5], [1])));
    const threshold = reduceSum(mul(sorted, isThere), [1], true);
    return addScalar(neg(less(act, threshold)), 1);
  });
  return div(sumOf(reached), scale(clip(count, 1, channels), 3));
}

/** −Σ target·log softmax(logits), of each token, `[tokens, 1]`. */
export function crossEntropyTo(target: Tensor, logits: Tensor): Tensor {
  const shifted = sub(logits, detach(reduceMax(logits, [1], true)));
  const logarithms = sub(shifted, log(reduceSum(exp(shifted), [1], true)));
  return neg(reduceSum(mul(target, logarithms), [1], true));
}

const sumOf = (terms: readonly Tensor[]): Tensor => terms.reduce((a, b) => add(a, b));
