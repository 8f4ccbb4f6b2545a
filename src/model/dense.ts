/**
 * A dense transformer: the mixture of one expert, whose router has nothing to choose.
 *
 *   h ← h + Attention(RMS(h))
 *   h ← h + Down·(act ⊙ m_l),   act = silu(Gate·x) ⊙ Up·x,   x = RMS(h)        m_l: what a token keeps of the channels
 */
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, mul, swiglu } from "../tensor/ops/arithmetic.ts";
import { gatherRows } from "../tensor/ops/index-ops.ts";
import { halves, reshape } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { rmsNorm } from "../tensor/ops/nn.ts";
import { attentionWidths } from "./base-weights.ts";
import type { ModelConfig } from "./config.ts";
import { attention, type ForwardOptions } from "./transformer.ts";

export interface Dense {
  /** `[rows · length, width]`, before the final norm. */
  readonly hidden: Tensor;
  /** act of each layer, `[rows · length, channels]`. */
  readonly channels: readonly Tensor[];
}

/**
 * @param ids `[rows, length]` int32
 * @param kept of each layer, what channels are multiplied by, `[rows · length, channels]`; nothing where they all count
 */
export function denseForward(
  options: Pick<ForwardOptions, "config" | "rows" | "length" | "weight">,
  ids: Tensor,
  kept?: readonly Tensor[],
): Dense {
  const { config, rows, length, weight } = options;
  const { width, expertWidth, normEpsilon } = config;
  const channels: Tensor[] = [];
  let h = gatherRows(weight("embed"), reshape(ids, [rows * length]));
  for (let layer = 0; layer < config.layers; layer++) {
    const of = (name: string) => weight(`layers.${layer}.${name}`);
    h = add(h, attention(options, rmsNorm(h, of("inputNorm"), normEpsilon), of));
    const x = rmsNorm(h, of("postNorm"), normEpsilon);
    const [gate, up] = halves(matmul(x, reshape(of("gateUp"), [width, 2 * expertWidth])), 1);
    const act = swiglu(gate, up);
    channels.push(act);
    const mask = kept?.[layer];
    h = add(h, matmul(mask ? mul(act, mask) : act, reshape(of("down"), [expertWidth, width])));
  }
  return { hidden: h, channels };
}

/** FLOP of a token's forward pass, matrix products only, where it keeps so many channels of each layer. */
export function denseFlops(config: ModelConfig, channels: number): number {
  const { layers, width, vocabulary } = config;
  const { query, keyValue } = attentionWidths(config);
  const attention = 2 * width * (query + keyValue);
  return 2 * (layers * (attention + 3 * width * channels) + width * vocabulary);
}
