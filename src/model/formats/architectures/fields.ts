/** The fields of a `config.json` that are read, of all architectures together. */
import * as z from "zod";

/** The bounds are far above any model, and keep every product of sizes an exact integer. */
const size = z
  .int()
  .min(1)
  .max(2 ** 20);
const experts = z.int().min(1).max(1024);
const finite = z.number();
const token = z.int().min(0);
const rope = z.looseObject({
  rope_theta: finite.positive().optional(),
  rope_type: z.string().optional(),
  type: z.string().optional(),
  partial_rotary_factor: finite.optional(),
  factor: finite.optional(),
});

export const fieldsSchema = z.looseObject({
  vocab_size: z
    .int()
    .min(1)
    .max(2 ** 24),
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: z.int().min(1).max(512),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  num_experts: experts.optional(),
  /** Another name for the same thing. */
  num_local_experts: experts.optional(),
  num_experts_per_tok: size.optional(),
  moe_intermediate_size: size.optional(),
  shared_expert_intermediate_size: size.optional(),
  decoder_sparse_step: size.default(1),
  mlp_only_layers: z.array(token).nullish(),
  qkv_bias: z.boolean().optional(),
  embedding_multiplier: finite.nullish(),
  residual_multiplier: finite.nullish(),
  attention_multiplier: finite.nullish(),
  logits_scaling: finite.positive().nullish(),
  max_position_embeddings: size.optional(),
  rope_theta: finite.positive().nullish(),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
  rms_norm_eps: finite.positive().optional(),
  norm_topk_prob: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  clip_qkv: finite.positive().nullish(),
  hidden_act: z.string().default("silu"),
  sliding_window: finite.nullish(),
  use_sliding_window: z.boolean().optional(),
  layer_types: z.array(z.string()).nullish(),
  quantization_config: z.unknown().optional(),
  eos_token_id: z.union([token, z.array(token)]).nullish(),
  pad_token_id: z.int().nullish(),
});

export type Fields = z.infer<typeof fieldsSchema>;
