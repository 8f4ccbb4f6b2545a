/**
 * Qwen2-MoE and Qwen3-MoE. A layer i, counted from 0, has experts if i + 1 is a multiple of `decoder_sparse_step` and
 * `mlp_only_layers` does not name it; else an MLP of width `intermediate_size`. Qwen2-MoE has biases on q, k and v, no norms on
 * them, and an expert beside the others that every token passes, times the sigmoid of its own gate. Qwen3-MoE norms q and k head by head.
 *
 * Qwen team, 2024, https://arxiv.org/abs/2407.10671 and 2025, https://arxiv.org/abs/2505.09388; transformers `models/qwen2_moe`
 * and `models/qwen3_moe`.
 */
import type { ModelConfig } from "../../config.ts";
import { type Architecture, projectionNames } from "./architecture.ts";
import type { Fields } from "./fields.ts";

export const qwen2Moe: Architecture = {
  className: "Qwen2MoeForCausalLM",
  defaults: { topK: 4, maxTokens: 32_768, ropeTheta: 10_000, normEpsilon: 1e-6 },
  freeHeadWidth: true,
  slidingWindow: false,
  read(fields, problems) {
    const { qkv_bias: bias = true, shared_expert_intermediate_size: sharedWidth } = fields;
    if (sharedWidth === undefined) {
      problems.push("shared_expert_intermediate_size is missing, expected the width of the shared expert");
    }
    return {
      ...readQwen(fields, problems),
      attentionBias: bias ? "qkv" : false,
      qkNorm: "none",
      ...(sharedWidth !== undefined && { sharedWidth }),
    };
  },
  write: (model) => ({
    ...writeQwen(model),
    qkv_bias: model.attentionBias !== false,
    shared_expert_intermediate_size: model.sharedWidth,
  }),
  names: projectionNames,
  // PEFT 0.21 takes the names of single experts for those of the shared one here, and leaves the experts alone.
  fusedAdapters: true,
};

export const qwen3Moe: Architecture = {
  className: "Qwen3MoeForCausalLM",
  defaults: { topK: 8, maxTokens: 32_768, ropeTheta: 10_000, normEpsilon: 1e-6 },
  freeHeadWidth: true,
  slidingWindow: false,
  read: (fields, problems) => ({
    ...readQwen(fields, problems),
    attentionBias: fields.attention_bias,
    qkNorm: "heads",
  }),
  write: (model) => ({ ...writeQwen(model), attention_bias: model.attentionBias !== false }),
  names: projectionNames,
  fusedAdapters: false,
};

function readQwen(fields: Fields, problems: string[]): Partial<ModelConfig> {
  const { moe_intermediate_size: expertWidth, decoder_sparse_step: step, mlp_only_layers: only } = fields;
  if (expertWidth === undefined) problems.push("moe_intermediate_size is missing, expected the width of one expert");
  const count = fields.num_hidden_layers;
  const layers = Array.from({ length: count }, (_, layer) => layer).filter(
    (layer) => only?.includes(layer) === true || (layer + 1) % step !== 0,
  );
  if (layers.length === count)
    problems.push("no layer has experts: decoder_sparse_step and mlp_only_layers leave none");
  return {
    normTopK: fields.norm_topk_prob,
    ...(expertWidth !== undefined && { expertWidth }),
    ...(layers.length > 0 && { dense: { layers, width: fields.intermediate_size } }),
  };
}

const writeQwen = (model: ModelConfig) => ({
  decoder_sparse_step: 1,
  // Without dense layers nothing has this width, and any number will do.
  intermediate_size: model.dense?.width ?? model.expertWidth,
  mlp_only_layers: model.dense?.layers ?? [],
  moe_intermediate_size: model.expertWidth,
  norm_topk_prob: model.normTopK,
  num_experts: model.experts,
  sliding_window: null,
  use_sliding_window: false,
});
