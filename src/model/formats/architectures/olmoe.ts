/**
 * OLMoE, what the others are relatives of. Muennighoff et al., https://arxiv.org/abs/2409.02060; transformers
 * `models/olmoe/configuration_olmoe.py`.
 */
import { type Architecture, projectionNames } from "./architecture.ts";

export const olmoe: Architecture = {
  className: "OlmoeForCausalLM",
  defaults: { topK: 8, maxTokens: 4096, ropeTheta: 10_000, normEpsilon: 1e-5 },
  freeHeadWidth: false,
  slidingWindow: true,
  read: ({ norm_topk_prob, attention_bias, clip_qkv }) => ({
    normTopK: norm_topk_prob,
    attentionBias: attention_bias,
    clipQkv: clip_qkv ?? null,
  }),
  write: ({ experts, attentionBias, clipQkv, normTopK }) => ({
    attention_bias: attentionBias,
    clip_qkv: clipQkv,
    norm_topk_prob: normTopK,
    num_experts: experts,
    router_aux_loss_coef: 0.01,
  }),
  names: projectionNames,
  fusedAdapters: false,
};
