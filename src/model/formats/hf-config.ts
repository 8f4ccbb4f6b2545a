/**
 * `config.json` of a Hugging Face model, OLMoE or a relative, to and from {@link ModelConfig}; what is special to one
 * architecture is in `architectures/`.
 *
 * Both spellings are read: `rope_theta`, `rope_scaling` and `torch_dtype` of transformers 4, `rope_parameters` and
 * `dtype` of transformers 5. What is missing has the default of transformers' class, except the sizes: a
 * missing size is a mistake (the class default of `intermediate_size` is not what the published OLMoE has). What would
 * change the mathematics and is not implemented is refused with the reason. Switches of training only (dropout, router
 * losses, cache, initialisation) are ignored: FLAME brings its own.
 */
import { InputError } from "../../base/errors.ts";
import { readJson } from "../../base/json.ts";
import { parseInput, throwMistakes } from "../../base/problem.ts";
import { headWidthOf, type ModelConfig } from "../config.ts";
import { architectureOf, modelTypeOf, readArchitecture } from "./architectures/all.ts";
import type { Architecture } from "./architectures/architecture.ts";
import { type Fields, fieldsSchema } from "./architectures/fields.ts";

/** A model as its folder describes it. */
export interface HuggingFaceConfig {
  readonly model: ModelConfig;
  /** Tokens that end a text. Empty if the file names none. */
  readonly endTokens: readonly number[];
  readonly padToken: number | null;
}

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
  const { modelType, architecture } = readArchitecture(parsed as Record<string, unknown>, where);
  const fields = parseInput(where, fieldsSchema, parsed);
  const problems: string[] = [];
  const model = { ...toModel(fields, architecture, problems), ...(modelType && { modelType }) };
  checkSizes(model, fields, architecture, problems);
  checkSwitches(fields, architecture, problems);
  throwMistakes(where, problems);
  const end = fields.eos_token_id ?? [];
  return {
    model,
    endTokens: Array.isArray(end) ? end : [end],
    // Some writers say "none" with −1.
    padToken: typeof fields.pad_token_id === "number" && fields.pad_token_id >= 0 ? fields.pad_token_id : null,
  };
}

function toModel(fields: Fields, { defaults, freeHeadWidth, read }: Architecture, problems: string[]): ModelConfig {
  const { num_experts, num_local_experts, head_dim: headWidth } = fields;
  const experts = num_experts ?? num_local_experts;
  if (num_local_experts !== undefined && num_local_experts !== experts) {
    problems.push(`num_experts is ${experts}, and num_local_experts, its other name, is ${num_local_experts}`);
  }
  if (experts === undefined) problems.push("num_experts is missing, expected the number of experts per layer");
  const topK = fields.num_experts_per_tok ?? defaults.topK;
  const [width, heads] = [fields.hidden_size, fields.num_attention_heads];
  const isFree = freeHeadWidth && headWidth != null && headWidth !== width / heads;
  return {
    vocabulary: fields.vocab_size,
    layers: fields.num_hidden_layers,
    width,
    heads,
    keyValueHeads: fields.num_key_value_heads ?? heads,
    experts: experts ?? topK,
    expertWidth: fields.intermediate_size,
    topK,
    maxTokens: fields.max_position_embeddings ?? defaults.maxTokens,
    ropeTheta: ropeTheta(fields, problems) ?? defaults.ropeTheta,
    normEpsilon: fields.rms_norm_eps ?? defaults.normEpsilon,
    normTopK: false,
    tiedEmbeddings: fields.tie_word_embeddings,
    attentionBias: false,
    clipQkv: null,
    ...(isFree && { headWidth }),
    ...read(fields, problems),
  };
}

function ropeTheta({ rope_theta: old, rope_parameters, rope_scaling }: Fields, problems: string[]): number | null {
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
  return thetas[0] ?? null;
}

function checkSizes(model: ModelConfig, { head_dim: given }: Fields, how: Architecture, problems: string[]): void {
  const { width, heads, keyValueHeads, experts, topK } = model;
  const own = headWidthOf(model);
  if (!Number.isInteger(own)) {
    problems.push(`hidden_size is ${width}, expected a multiple of num_attention_heads, which is ${heads}`);
  } else {
    if (given != null && given !== own && !how.freeHeadWidth) {
      problems.push(`head_dim is ${given}, expected hidden_size ÷ num_attention_heads = ${own}`);
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

function checkSwitches(fields: Fields, { slidingWindow }: Architecture, problems: string[]): void {
  const { hidden_act: activation, sliding_window: sliding, use_sliding_window: slides = slidingWindow } = fields;
  // transformers knows the same function under both names.
  if (activation !== "silu" && activation !== "swish") problems.push(`hidden_act is "${activation}", expected "silu"`);
  if (sliding != null && slides) {
    problems.push(`sliding_window is ${sliding}, and attention here sees the whole sequence (null)`);
  }
  const other = fields.layer_types?.find((type) => type !== "full_attention");
  if (other !== undefined) problems.push(`layer_types has "${other}", expected "full_attention" everywhere`);
  if (fields.quantization_config != null) {
    problems.push("quantization_config is set: expected unquantised float32, float16 or bfloat16 weights");
  }
}

/** Fields that are floating-point in transformers, where 8 is not a float: transformers 5 refuses a `clip_qkv` of 8. */
const floats =
  /^( *"(?:attention_multiplier|clip_qkv|embedding_multiplier|initializer_range|logits_scaling|residual_multiplier|rms_norm_eps|rope_theta|router_aux_loss_coef)": -?\d+)(,?)$/gm;

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
  const { className, write } = architectureOf(model);
  const fields: Record<string, unknown> = {
    architectures: [className],
    attention_dropout: 0,
    bos_token_id: null,
    eos_token_id: endTokens.length > 1 ? endTokens : (endTokens[0] ?? null),
    hidden_act: "silu",
    hidden_size: model.width,
    initializer_range: 0.02,
    intermediate_size: model.expertWidth,
    max_position_embeddings: model.maxTokens,
    model_type: modelTypeOf(model),
    num_attention_heads: model.heads,
    num_experts_per_tok: topK,
    num_hidden_layers: model.layers,
    num_key_value_heads: model.keyValueHeads,
    output_router_logits: false,
    pad_token_id: padToken,
    rms_norm_eps: model.normEpsilon,
    rope_scaling: null,
    rope_theta: model.ropeTheta,
    router_aux_loss_coef: 0.001,
    tie_word_embeddings: model.tiedEmbeddings,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: model.vocabulary,
    ...(model.headWidth !== undefined && { head_dim: model.headWidth }),
    ...write(model),
  };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => (a < b ? -1 : 1)));
}
