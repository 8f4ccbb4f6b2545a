/**
 * The OLMoE transformer as a tensor program: pre-norm attention with whole-width q/k norms and rotary positions, and a
 * dropless sparse mixture of experts with per-expert LoRA and FLAME's rescaler.
 *
 *   h ← h + Attention(RMS(h))
 *   p  = softmax(RMS(h)·Wr),  T = the k largest of p          routing weights are not renormalised (OLMoE)
 *   h ← h + s_l · Σ_{j∈T} p_j · Down_j(silu(Gate_j x) · Up_j x)
 *
 * Muennighoff et al., "OLMoE", 2024, https://arxiv.org/abs/2409.02060;
 * Le et al., "FLAME", 2025, https://arxiv.org/abs/2506.16600.
 */
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, cast, clip, div, mul, reduceSum, scale, swiglu } from "../tensor/ops/arithmetic.ts";
import { integerDivide } from "../tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows, topK } from "../tensor/ops/index-ops.ts";
import { concat, halves, reshape, split, transpose } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { causalAttention, rmsNorm, rotary, softmax } from "../tensor/ops/nn.ts";
import { groupedMatmul, sortByGroup } from "../tensor/ops/ragged.ts";
import type { AdaptedAttention } from "./adapted-attention.ts";
import type { BesideOutput } from "./beside.ts";
import { headWidthOf, type ModelConfig } from "./config.ts";
import { denseMlp, sharedExpert } from "./feed-forward.ts";

/** What the router sent to the experts of one layer. */
export interface Dispatched {
  /** `[rows, width]` and `[rows, 1]`, ragged over experts: the row and its routing weight. */
  readonly x: Tensor;
  readonly weight: Tensor;
  /** Of each row, which copy of a token it is, token · topK + choice; as sorted. */
  readonly positions: Tensor;
  /** `[tokens · topK]` int64: the expert of each copy; `experts` and more for padding. */
  readonly labels: Tensor;
}

/** What the experts of one layer made of the rows that reached them. */
interface Mixed {
  /** Each row through its expert, times its routing weight: `[rows, width]`, ragged over experts. */
  readonly outputs: Tensor;
  /** Rows of each expert, where they are counted apart by client: `[experts · clients]` int64. */
  readonly counts?: Tensor;
}

/** @param layer among those with experts */
export type Experts = (layer: number, rows: Dispatched, gateUp: Tensor, down: Tensor) => Mixed;

export interface ForwardOptions {
  readonly config: ModelConfig;
  readonly rows: number;
  readonly length: number;
  /** Experts per token, k_i. */
  readonly topK: number;
  /** A frozen or trainable tensor by its name in `base-weights.ts`. */
  weight(name: string): Tensor;
  /** What adapters change; without it, the base model. */
  readonly adapted?: {
    /** s_l, `[1]` each, or one for every token, `[tokens, 1]`. */
    readonly rescaler: readonly Tensor[];
    /** Of all layers. */
    readonly attention?: readonly AdaptedAttention[];
    /** The base's own unless given. */
    readonly experts?: Experts;
    /** Of each layer, what is added to its mixture, from what the mixture reads. */
    readonly beside?: readonly ((x: Tensor) => BesideOutput)[];
    /** Router logits from those of the base model and from what the router reads, `[tokens, width]`. */
    readonly logits?: (layer: number, logits: Tensor, x: Tensor) => Tensor;
  };
}

export interface Forward {
  /** `[rows · length, width]`, before the final norm. */
  readonly hidden: Tensor;
  /** Non-padding tokens routed to each expert, `[layers with experts · experts]` int64, or as {@link Mixed} counts them. */
  readonly activations: Tensor;
  /** Router logits and probabilities of each layer with experts, `[rows · length, experts]`. */
  readonly routers: readonly { readonly logits: Tensor; readonly probabilities: Tensor; readonly counts: Tensor }[];
  /** Of each layer; none without small experts beside the mixture. */
  readonly beside: readonly BesideOutput[];
}

/**
 * @param ids `[rows, length]` int32
 * @param padding `[rows · length]` int32: 0 at a token, `experts` at padding, which is routed nowhere
 */
export function forward(options: ForwardOptions, ids: Tensor, padding: Tensor): Forward {
  const { config, rows, length, weight } = options;
  const tokens = rows * length;
  const routers: Forward["routers"][number][] = [];
  const beside: BesideOutput[] = [];
  const { embedding = 1, residual = 1 } = config.multipliers ?? {};
  let h = scale(gatherRows(weight("embed"), reshape(ids, [tokens])), embedding);
  for (let layer = 0; layer < config.layers; layer++) {
    const of = (name: string) => weight(`layers.${layer}.${name}`);
    const { graph } = h.node;
    const attend = () => {
      const normed = rmsNorm(h, of("inputNorm"), config.normEpsilon);
      return add(h, scale(attention(options, normed, of, options.adapted?.attention?.[layer]), residual));
    };
    if (config.dense?.layers.includes(layer)) {
      h = graph.segment(() => {
        const attended = attend();
        const normed = rmsNorm(attended, of("postNorm"), config.normEpsilon);
        return add(attended, scale(denseMlp(normed, of), residual));
      });
      continue;
    }
    const mixed = graph.segment(() => mixture(options, routers.length, attend(), padding, of));
    routers.push(mixed.router);
    if (mixed.beside) beside.push(mixed.beside);
    h = mixed.output;
  }
  return {
    hidden: h,
    activations: concat(
      routers.map(({ counts }) => counts),
      0,
    ),
    routers,
    beside,
  };
}

/** What the head reads at chosen positions: `[positions, width]`. */
export function headInput(
  { config, weight }: Pick<ForwardOptions, "config" | "weight">,
  hidden: Tensor,
  positions: Tensor,
): Tensor {
  const normed = rmsNorm(gatherRows(hidden, positions), weight("norm"), config.normEpsilon);
  // On what is narrower than logits.
  return scale(normed, 1 / (config.multipliers?.logitsDivisor ?? 1));
}

/**
 * @param of the layer's tensors by name
 * @param adapted what is added to its projections
 */
export function attention(
  options: Pick<ForwardOptions, "config" | "rows" | "length">,
  x: Tensor,
  of: (name: string) => Tensor,
  adapted?: AdaptedAttention,
): Tensor {
  const { config, rows, length } = options;
  const { heads, keyValueHeads, normEpsilon, clipQkv, attentionBias, ropeTheta, qkNorm } = config;
  const size = headWidthOf(config);
  const sharing = heads / keyValueHeads;
  const tokens = rows * length;

  const product = matmul(x, of("qkv"));
  const projected = adapted ? add(product, adapted.qkv(x)) : product;
  const qkv = attentionBias ? add(projected, of("qkvBias")) : projected;
  const [q, k, v] = split(qkv, 1, [heads * size, keyValueHeads * size, keyValueHeads * size]) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const clamp = (t: Tensor) => (clipQkv === null ? t : clip(t, -clipQkv, clipQkv));
  const normed = (t: Tensor, norm: string, count: number) => {
    if (qkNorm === "none") return t;
    return rmsNorm(qkNorm === "heads" ? reshape(t, [tokens * count, size]) : t, of(norm), normEpsilon);
  };
  const position = (t: Tensor, norm: string, count: number) =>
    rotary(reshape(clamp(normed(t, norm, count)), [rows, length, count * size]), count, ropeTheta);
  // Queries that share a key/value head lie under one another, so the product with the keys is one matrix product.
  const grouped = reshape(position(q, "qNorm", heads), [rows, length, keyValueHeads, sharing, size]);
  const queries = reshape(transpose(grouped, [0, 2, 3, 1, 4]), [rows, keyValueHeads, sharing * length, size]);
  const perHead = (t: Tensor) => transpose(reshape(t, [rows, length, keyValueHeads, size]), [0, 2, 1, 3]);
  const keys = perHead(position(k, "kNorm", keyValueHeads));
  const heard = causalAttention(queries, keys, perHead(clamp(v)), config.multipliers?.attention ?? 1 / Math.sqrt(size));
  const attended = reshape(heard, [rows, keyValueHeads, sharing, length, size]);
  const merged = reshape(transpose(attended, [0, 3, 1, 2, 4]), [tokens, heads * size]);
  const last = matmul(merged, of("o"));
  const output = adapted ? add(last, adapted.o(merged)) : last;
  return attentionBias === true ? add(output, of("oBias")) : output;
}

/** @param layer among those with experts
 * @param h `[tokens, width]`; the output is `h` and what the experts add to it */
function mixture(options: ForwardOptions, layer: number, h: Tensor, padding: Tensor, of: (name: string) => Tensor) {
  const { config, rows, length, topK: k, adapted } = options;
  const normed = rmsNorm(h, of("postNorm"), config.normEpsilon);
  const tokens = rows * length;

  const base = matmul(normed, of("router"));
  const logits = adapted?.logits?.(layer, base, normed) ?? base;
  const probabilities = softmax(logits);
  const { values, indices } = topK(probabilities, k);
  const shares = config.normTopK ? div(values, reduceSum(values, [1], true)) : values;
  // The rescaler multiplies the weights of a token's experts, which are fewer numbers than their outputs.
  const { residual = 1 } = config.multipliers ?? {};
  const routed = scale(adapted ? mul(shares, adapted.rescaler[layer]!) : shares, residual);
  const labels = reshape(add(indices, reshape(cast(padding, "int64"), [tokens, 1])), [tokens * k]);
  const { positions, counts } = sortByGroup(labels, config.experts);
  const token = integerDivide(positions, k);

  const x = gatherRows(normed, token);
  const weight = gatherRows(reshape(routed, [tokens * k, 1]), positions);
  const experts = adapted?.experts ?? baseExperts;
  const mixed = experts(layer, { x, weight, positions, labels }, of("gateUp"), of("down"));
  const beside = adapted?.beside?.[layer]?.(normed);
  const shared = config.sharedWidth === undefined ? h : add(h, scale(sharedExpert(normed, of), residual));
  return {
    output: scatterAddRows(mixed.outputs, token, tokens, beside ? add(shared, scale(beside.output, residual)) : shared),
    beside,
    router: { logits, probabilities, counts: mixed.counts ?? counts },
  };
}

/** The routing weight goes onto the hidden units, which are fewer than the outputs; the down projection is linear. */
const baseExperts: Experts = (_layer, { x, weight }, gateUp, down) => {
  const [gate, up] = halves(groupedMatmul(x, gateUp), 1);
  return { outputs: groupedMatmul(mul(swiglu(gate, up), weight), down) };
};
