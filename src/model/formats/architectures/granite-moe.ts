/**
 * Granite-MoE: no norms on q and k, and multipliers on the embedding, on what each block adds, on attention scores and (as a
 * divisor) on logits. Its softmax over the k largest logits is the softmax over all, divided by the sum of what is kept.
 *
 * IBM, "Granite 3.0 Language Models", 2024; transformers `models/granitemoe`.
 */
import type { Architecture } from "./architecture.ts";

export const graniteMoe: Architecture = {
  className: "GraniteMoeForCausalLM",
  defaults: { topK: 2, maxTokens: 2048, ropeTheta: 10_000, normEpsilon: 1e-6 },
  freeHeadWidth: true,
  slidingWindow: true,
  read: ({ attention_bias, ...fields }) => ({
    normTopK: true,
    attentionBias: attention_bias,
    qkNorm: "none",
    multipliers: {
      embedding: fields.embedding_multiplier ?? 1,
      residual: fields.residual_multiplier ?? 1,
      attention: fields.attention_multiplier ?? 1,
      logitsDivisor: fields.logits_scaling ?? 1,
    },
  }),
  write: ({ experts, attentionBias, multipliers }) => ({
    attention_bias: attentionBias,
    attention_multiplier: multipliers?.attention,
    embedding_multiplier: multipliers?.embedding,
    logits_scaling: multipliers?.logitsDivisor,
    num_local_experts: experts,
    residual_multiplier: multipliers?.residual,
  }),
  names: {
    block: "block_sparse_moe",
    router: "router.layer.weight",
    routerModule: "block_sparse_moe.router",
    leaves: null,
    fused: { gateUp: "input_linear.weight", down: "output_linear.weight" },
  },
  inMemory: {
    block: "block_sparse_moe",
    router: "router.weight",
    fused: { gateUp: "experts.gate_up_proj", down: "experts.down_proj" },
  },
  fusedAdapters: true,
};
