/**
 * `config.json` of a Hugging Face OLMoE model, to and from {@link ModelConfig}.
 *
 * Both spellings are read: `rope_theta`, `rope_scaling` and `torch_dtype` of transformers 4, `rope_parameters` and
 * `dtype` of transformers 5. What is missing has the default of transformers' `OlmoeConfig`, except the sizes: a
 * missing size is a mistake (the class default of `intermediate_size` is not what the published model has). What would
 * change the mathematics and is not implemented is refused with the reason. Switches of training only (dropout, router
 * losses, cache, initialisation) are ignored: FLAME brings its own.
 *
 * https://github.com/huggingface/transformers, `models/olmoe/configuration_olmoe.py`; arXiv 2409.02060.
 */
import { z } from "zod";
import { InputError } from "../../base/errors.ts";
import { readJson } from "../../base/json.ts";
import { parseInput, show, throwMistakes } from "../../base/problem.ts";
import type { ModelConfig } from "../config.ts";

/** A model as its folder describes it. */
export interface HuggingFaceConfig {
  readonly model: ModelConfig;
  /** Tokens that end a text; OLMoE has one. Empty if the file names none. */
  readonly endTokens: readonly number[];
  readonly padToken: number | null;
}

/** Why a model that looks similar is not the same mathematics. */
const refusals: Readonly<Record<string, string>> = {
  mixtral: "Mixtral has no norms on q and k, and divides the kept routing weights by their sum before it uses them",
  qwen2_moe: "Qwen2-MoE has a shared expert with a gate of its own, and no norms on q and k",
  qwen3_moe: "Qwen3-MoE norms q and k head by head, where OLMoE norms the whole projection",
  qwen3_next: "Qwen3-Next has linear-attention layers and a shared expert",
  flex_olmo: "FlexOlmo norms after attention and experts, where OLMoE norms before them",
  deepseek_v2: "DeepSeek has latent attention and shared experts",
  deepseek_v3: "DeepSeek has latent attention and shared experts",
  gpt_oss: "GPT-OSS has attention sinks and a clamped, biased expert",
  olmo: "OLMo is dense: it has no experts to choose from",
  olmo2: "OLMo 2 is dense: it has no experts to choose from",
  olmo3: "OLMo 3 is dense: it has no experts to choose from",
  llama: "Llama is dense: it has no experts to choose from",
};

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

const schema = z.looseObject({
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
  /** transformers 5's second name for the same thing. */
  num_local_experts: experts.optional(),
  num_experts_per_tok: size.default(8),
  max_position_embeddings: size.default(4096),
  rope_theta: finite.positive().nullish(),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
  rms_norm_eps: finite.positive().default(1e-5),
  norm_topk_prob: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  clip_qkv: finite.positive().nullish(),
  hidden_act: z.string().default("silu"),
  sliding_window: finite.nullish(),
  use_sliding_window: z.boolean().optional(),
  quantization_config: z.unknown().optional(),
  eos_token_id: z.union([token, z.array(token)]).nullish(),
  pad_token_id: z.int().nullish(),
});

type Fields = z.infer<typeof schema>;

/**
 * Reads and checks a `config.json`.
 *
 * @throws InputError naming the file and every field that is wrong, with the reason
 */
export function readHuggingFaceConfig(path: string): HuggingFaceConfig {
  return parseHuggingFaceConfig(readJson(path), path);
}

/** @internal As {@link readHuggingFaceConfig}, from parsed JSON; `where` opens every message. */
export function parseHuggingFaceConfig(parsed: unknown, where: string): HuggingFaceConfig {
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new InputError(`${where}: expected a JSON object with the model's configuration`);
  }
  checkModelType(parsed as Record<string, unknown>, where);
  const fields = parseInput(where, schema, parsed);
  const problems: string[] = [];
  const model = toModel(fields, problems);
  checkSizes(model, fields, problems);
  checkSwitches(fields, problems);
  throwMistakes(where, problems);
  const end = fields.eos_token_id ?? [];
  return {
    model,
    endTokens: Array.isArray(end) ? end : [end],
    // Some writers say "none" with −1.
    padToken: typeof fields.pad_token_id === "number" && fields.pad_token_id >= 0 ? fields.pad_token_id : null,
  };
}

function checkModelType({ model_type: type, architectures }: Record<string, unknown>, where: string): void {
  if (type === "olmoe") return;
  if (type === undefined && Array.isArray(architectures) && architectures.includes("OlmoeForCausalLM")) return;
  const reason = typeof type === "string" && Object.hasOwn(refusals, type) ? refusals[type] : undefined;
  throw new InputError(
    `${where}: model_type is ${show(type)}, expected "olmoe"${reason === undefined ? "" : `: ${reason}`}`,
  );
}

function toModel(fields: Fields, problems: string[]): ModelConfig {
  const { num_experts, num_local_experts } = fields;
  const experts = num_experts ?? num_local_experts;
  if (num_local_experts !== undefined && num_local_experts !== experts) {
    problems.push(`num_experts is ${experts}, and num_local_experts, its other name, is ${num_local_experts}`);
  }
  if (experts === undefined) problems.push("num_experts is missing, expected the number of experts per layer");
  return {
    vocabulary: fields.vocab_size,
    layers: fields.num_hidden_layers,
    width: fields.hidden_size,
    heads: fields.num_attention_heads,
    keyValueHeads: fields.num_key_value_heads ?? fields.num_attention_heads,
    experts: experts ?? fields.num_experts_per_tok,
    expertWidth: fields.intermediate_size,
    topK: fields.num_experts_per_tok,
    maxTokens: fields.max_position_embeddings,
    ropeTheta: ropeTheta(fields, problems),
    normEpsilon: fields.rms_norm_eps,
    normTopK: fields.norm_topk_prob,
    tiedEmbeddings: fields.tie_word_embeddings,
    attentionBias: fields.attention_bias,
    clipQkv: fields.clip_qkv ?? null,
  };
}

function ropeTheta({ rope_theta: old, rope_parameters, rope_scaling }: Fields, problems: string[]): number {
  for (const [name, part] of Object.entries({ rope_parameters, rope_scaling })) {
    const type = part?.rope_type ?? part?.type ?? "default";
    if (type !== "default")
      problems.push(`${name}: rope type is "${type}", and only unscaled ("default") RoPE is built in`);
    else if (part?.factor !== undefined && part.factor !== 1)
      problems.push(`${name}.factor is ${part.factor}, and only unscaled RoPE is built in`);
    const factor = part?.partial_rotary_factor ?? 1;
    if (factor !== 1) problems.push(`${name}.partial_rotary_factor is ${factor}, and RoPE here turns whole heads (1)`);
  }
  const thetas = [rope_parameters?.rope_theta, rope_scaling?.rope_theta, old].filter((theta) => theta != null);
  if (new Set(thetas).size > 1) problems.push(`rope_theta is given as ${thetas.join(" and ")}, expected one value`);
  return thetas[0] ?? 10_000;
}

function checkSizes(model: ModelConfig, { head_dim: headWidth }: Fields, problems: string[]): void {
  const { width, heads, keyValueHeads, experts, topK } = model;
  if (width % heads !== 0) {
    problems.push(`hidden_size is ${width}, expected a multiple of num_attention_heads, which is ${heads}`);
  } else {
    const own = width / heads;
    if (headWidth != null && headWidth !== own) {
      problems.push(`head_dim is ${headWidth}, expected hidden_size ÷ num_attention_heads = ${own}`);
    }
    if (own % 2 !== 0) problems.push(`head_dim is ${own}, expected an even number: RoPE turns pairs`);
  }
  if (heads % keyValueHeads !== 0) {
    problems.push(
      `num_attention_heads is ${heads}, expected a multiple of num_key_value_heads, which is ${keyValueHeads}`,
    );
  }
  if (topK > experts) problems.push(`num_experts_per_tok is ${topK}, but the model has ${experts} experts`);
}

function checkSwitches(fields: Fields, problems: string[]): void {
  const { hidden_act: activation, sliding_window: sliding } = fields;
  // transformers knows the same function under both names.
  if (activation !== "silu" && activation !== "swish") problems.push(`hidden_act is "${activation}", expected "silu"`);
  if (sliding != null && fields.use_sliding_window !== false) {
    problems.push(`sliding_window is ${sliding}, and attention here sees the whole sequence (null)`);
  }
  if (fields.quantization_config != null) {
    problems.push("quantization_config is set: expected unquantised float32, float16 or bfloat16 weights");
  }
}

/** Fields that are floating-point in transformers, where 8 is not a float: transformers 5 refuses a `clip_qkv` of 8. */
const floats = /^( *"(?:clip_qkv|initializer_range|rms_norm_eps|rope_theta|router_aux_loss_coef)": -?\d+)(,?)$/gm;

/** The text of {@link toHuggingFaceConfig}. */
export const huggingFaceConfigText = (...args: Parameters<typeof toHuggingFaceConfig>): string =>
  `${JSON.stringify(toHuggingFaceConfig(...args), null, 2).replace(floats, "$1.0$2")}\n`;

/**
 * The `config.json` of a model, in the spelling that transformers 4 and 5 both read.
 *
 * @param topK `num_experts_per_tok`, if it is to differ from the model's own
 */
export function toHuggingFaceConfig(
  { model, endTokens, padToken }: HuggingFaceConfig,
  { dtype, topK = model.topK }: { readonly dtype: "float32" | "float16" | "bfloat16"; readonly topK?: number },
): Record<string, unknown> {
  return {
    architectures: ["OlmoeForCausalLM"],
    attention_bias: model.attentionBias,
    attention_dropout: 0,
    bos_token_id: null,
    clip_qkv: model.clipQkv,
    eos_token_id: endTokens.length > 1 ? endTokens : (endTokens[0] ?? null),
    hidden_act: "silu",
    hidden_size: model.width,
    initializer_range: 0.02,
    intermediate_size: model.expertWidth,
    max_position_embeddings: model.maxTokens,
    model_type: "olmoe",
    norm_topk_prob: model.normTopK,
    num_attention_heads: model.heads,
    num_experts: model.experts,
    num_experts_per_tok: topK,
    num_hidden_layers: model.layers,
    num_key_value_heads: model.keyValueHeads,
    output_router_logits: false,
    pad_token_id: padToken,
    rms_norm_eps: model.normEpsilon,
    rope_scaling: null,
    rope_theta: model.ropeTheta,
    router_aux_loss_coef: 0.01,
    tie_word_embeddings: model.tiedEmbeddings,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: model.vocabulary,
  };
}
