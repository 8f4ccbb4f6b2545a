/**
 * What a model costs, from its configuration alone: parameters, FLOPs, bytes and memory, for each budget k.
 *
 * With d = width, f = expert width, M experts, L layers, V tokens, q = heads·hd and kv = keyValueHeads·hd columns:
 *
 *   forward multiply-adds per token   L · (2·d·q + 2·d·kv + M·d + 3·d·f·k) + V·d
 *
 * A layer with a shared expert of width s adds 3·d·s + d; a dense one has 3·d·m in the place of M·d + 3·d·f·k.
 * which is L·(4d² + Md + 3dfk) + Vd where every head has its own keys. One multiply-add is 2 FLOP. Norms, RoPE,
 * softmax and look-ups are left out, and so are attention scores unless a context length is given. Figures for
 * OLMoE-1B-7B: Muennighoff et al., "OLMoE", https://arxiv.org/abs/2409.02060.
 */

import { type AdapterLayout, adapterLayout, type LoraConfig, type LoraTargets } from "./adapter.ts";
import { attentionWidths, qkNormWidths } from "./base-weights.ts";
import type { BesideConfig } from "./beside.ts";
import { type ModelConfig, sparseLayers } from "./config.ts";

export interface ParameterCount {
  readonly embedding: number;
  /** 0 when tied. */
  readonly head: number;
  readonly finalNorm: number;
  /** Of one layer: projections q, k, v, o with their biases. */
  readonly attention: number;
  /** Of one layer: before attention, before the experts, on q and on k. */
  readonly norms: number;
  /** Of one layer. */
  readonly router: number;
  readonly expert: number;
  /** Of one layer: the expert that all tokens share, and its gate; 0 without. */
  readonly shared: number;
  /** Of one layer with experts, them included. */
  readonly layer: number;
  /** Of one dense layer; 0 where there is none. */
  readonly dense: number;
  readonly total: number;
}

export function countParameters(config: ModelConfig): ParameterCount {
  const { vocabulary, width: d, layers, experts, expertWidth: f, attentionBias, tiedEmbeddings } = config;
  const { sharedWidth, dense } = config;
  const { query, keyValue } = attentionWidths(config);
  const biases = (attentionBias ? query + 2 * keyValue : 0) + (attentionBias === true ? d : 0);
  const onHeads = qkNormWidths(config);
  const embedding = vocabulary * d;
  const head = tiedEmbeddings ? 0 : embedding;
  const attention = 2 * d * query + 2 * d * keyValue + biases;
  const norms = 2 * d + onHeads.query + onHeads.keyValue;
  const router = experts * d;
  const expert = 3 * d * f;
  const shared = sharedWidth === undefined ? 0 : 3 * d * sharedWidth + d;
  const layer = attention + norms + router + experts * expert + shared;
  const denseLayer = dense === undefined ? 0 : attention + norms + 3 * d * dense.width;
  const sparse = sparseLayers(config).length;
  return {
    embedding,
    head,
    finalNorm: d,
    attention,
    norms,
    router,
    expert,
    shared,
    layer,
    dense: denseLayer,
    total: embedding + head + d + sparse * layer + (layers - sparse) * denseLayer,
  };
}

/** Parameters that take part in one token at budget `k`, embedding and head included. */
export function activeParameters(config: ModelConfig, k: number): number {
  const { total, expert } = countParameters(config);
  return total - sparseLayers(config).length * (config.experts - k) * expert;
}

/** LoRA numbers at a rank, of whatever it may lie on. */
export interface LoraCount {
  /** Gate, up and down of one expert. */
  readonly expert: number;
  /** All experts of all layers. */
  readonly experts: number;
  /** q, k, v and o of all layers. */
  readonly attention: number;
  /** Of all layers. No adapter has them: routers train whole. */
  readonly router: number;
}

export function countLora(config: ModelConfig, rank: number): LoraCount {
  const { layers, width: d, experts, expertWidth: f } = config;
  const { query, keyValue } = attentionWidths(config);
  const expert = 3 * rank * (d + f);
  const sparse = sparseLayers(config).length;
  return {
    expert,
    experts: sparse * experts * expert,
    attention: layers * rank * (2 * (d + query) + 2 * (d + keyValue)),
    router: sparse * rank * (d + experts),
  };
}

/** FLOP of one token's forward pass through the base weights at budget `k`, matrix multiplications only. */
export function forwardFlops(config: ModelConfig, k: number): number {
  const { layers, width: d, experts, expertWidth: f, vocabulary, dense } = config;
  const { query, keyValue } = attentionWidths(config);
  const sparse = sparseLayers(config).length;
  const mixture = experts * d + 3 * d * f * k + countParameters(config).shared;
  const mlp = 3 * d * (dense?.width ?? 0);
  return (
    2 * (layers * (2 * d * query + 2 * d * keyValue) + sparse * mixture + (layers - sparse) * mlp + vocabulary * d)
  );
}

/** FLOP per token that q·kᵀ and P·v add at a context of `tokens`; the causal half is not skipped. */
export function attentionScoreFlops(config: ModelConfig, tokens: number): number {
  return 4 * config.layers * tokens * attentionWidths(config).query;
}

/** FLOP per token that the LoRA of `k` experts, and of attention where it lies there, adds to a forward pass. */
export function loraFlops(config: ModelConfig, k: number, rank: number, targets?: LoraTargets): number {
  const { expert, attention } = countLora(config, rank);
  return 2 * (sparseLayers(config).length * k * expert + (targets === "experts-and-attention" ? attention : 0));
}

/** FLOP of one token's forward pass with its LoRA. */
export function adaptedFlops(config: ModelConfig, k: number, rank: number, targets?: LoraTargets): number {
  return forwardFlops(config, k) + loraFlops(config, k, rank, targets);
}

/**
 * FLOP of one token's training step: the base forward, as much again to bring gradients back through frozen weights
 * (none for the weights themselves), and three times the LoRA forward (forward, and gradients of inputs and of factors).
 */
export function trainingFlops(config: ModelConfig, k: number, rank: number, targets?: LoraTargets): number {
  return 2 * forwardFlops(config, k) + 3 * loraFlops(config, k, rank, targets);
}

/** FLOP per token that small experts beside each mixture, of which it keeps `kept`, add to a forward pass. */
export const poolFlops = (config: ModelConfig, pool: BesideConfig, kept: number): number =>
  2 * sparseLayers(config).length * config.width * (pool.experts + kept * 2 * pool.width);

export interface RoundBytes {
  /** The whole adapter, server to client; full rank whatever the budget. */
  readonly download: number;
  /** The adapter again, with the activation counts and the two totals |D_i| and S_i. */
  readonly upload: number;
}

/** @param bytesPerScalar 4 for float32, 2 for bfloat16 or float16 */
export function roundBytes({ size, members, layers, experts, pool }: AdapterLayout, bytesPerScalar: 2 | 4): RoundBytes {
  const download = members * size * bytesPerScalar;
  const counted = members * layers * (pool?.beside.experts ?? experts);
  return { download, upload: download + (counted + 2) * 4 };
}

/** Bytes a client needs while training, by what they are for. */
export interface TrainingMemory {
  /** All experts, whatever the budget: k lowers work, not weights. */
  readonly weights: number;
  readonly adapter: number;
  /** Gradient of the adapter. */
  readonly gradient: number;
  /** AdamW's two moments. */
  readonly optimizer: number;
  /** Kept from the forward pass for the backward pass. */
  readonly activations: number;
  readonly total: number;
}

/**
 * Float32 adapter, gradient and moments; per token and layer the activations are the two norms' inputs and outputs, q,
 * k and v before and after norm and RoPE, the attention output, the router's probabilities, and per active expert its
 * gate, up and product, the weighted output and the three LoRA middles, of an MLP that all tokens pass as much without
 * LoRA, the four middles of attention where it has LoRA; once the final norm and the logits. Attention scores are left out.
 *
 * @param tokens in one batch, padding included
 * @param bytesPerWeight 4 for float32 base weights, 2 for bfloat16 or float16
 */
export function trainingMemory(
  config: ModelConfig,
  lora: LoraConfig,
  { k, tokens, bytesPerWeight }: { readonly k: number; readonly tokens: number; readonly bytesPerWeight: 2 | 4 },
): TrainingMemory {
  const { layers, width: d, experts, expertWidth: f, vocabulary, sharedWidth, dense } = config;
  const { query, keyValue } = attentionWidths(config);
  const { size, attention } = adapterLayout(config, lora);
  const adapter = size * 4;
  const sparse = sparseLayers(config).length;
  const perLayer = 4 * d + 2 * (query + 2 * keyValue) + query;
  const shared = sharedWidth === undefined ? 0 : 3 * sharedWidth + d;
  const mixture = experts + k * (3 * f + d + 3 * lora.rank) + shared;
  const mlp = 3 * (dense?.width ?? 0);
  const inLayers = layers * perLayer + attention.length * 4 * lora.rank + sparse * mixture + (layers - sparse) * mlp;
  const activations = 4 * tokens * (inLayers + 2 * d + vocabulary);
  const weights = countParameters(config).total * bytesPerWeight;
  return {
    weights,
    adapter,
    gradient: adapter,
    optimizer: 2 * adapter,
    activations,
    total: weights + 4 * adapter + activations,
  };
}
