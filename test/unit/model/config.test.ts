import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import {
  huggingFaceConfigText,
  parseHuggingFaceConfig,
  readHuggingFaceConfig,
  toHuggingFaceConfig,
} from "../../../src/model/formats/hf-config.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { smallConfig } from "../../support/model-folder.ts";

const parse = (change: Record<string, unknown> = {}) =>
  parseHuggingFaceConfig({ ...smallConfig, ...change }, "config.json");

function without(...fields: string[]) {
  return Object.fromEntries(Object.entries(smallConfig).filter(([name]) => !fields.includes(name)));
}

function refused(change: Record<string, unknown>, reason: RegExp) {
  assert.throws(
    () => parse(change),
    (error) => error instanceof InputError && error.message.startsWith("config.json: ") && reason.test(error.message),
    JSON.stringify(change),
  );
}

test("the published OLMoE configuration is read field by field", () => {
  const { model, endTokens, padToken } = parse({
    num_key_value_heads: 2,
    clip_qkv: 8,
    attention_bias: true,
    norm_topk_prob: true,
  });
  assert.deepEqual(model, {
    vocabulary: 11,
    layers: 2,
    width: 8,
    heads: 4,
    keyValueHeads: 2,
    experts: 3,
    expertWidth: 6,
    topK: 2,
    maxTokens: 32,
    ropeTheta: 10_000,
    normEpsilon: 1e-5,
    normTopK: true,
    tiedEmbeddings: false,
    attentionBias: true,
    clipQkv: 8,
  });
  assert.deepEqual([endTokens, padToken], [[10], 1]);
});

test("transformers 4 and 5 spell one model in two ways", () => {
  const five = { ...without("rope_theta", "rope_scaling", "torch_dtype"), dtype: "float32" };
  const parsed = parseHuggingFaceConfig(
    { ...five, rope_parameters: { rope_theta: 500_000, rope_type: "default" } },
    "c",
  );
  assert.deepEqual(parsed.model, parse({ rope_theta: 500_000 }).model);
  assert.deepEqual(parse({ rope_scaling: { type: "default" } }).model, parse().model);
  refused({ rope_parameters: { rope_theta: 5 } }, /rope_theta is given as 5 and 10000/);
});

test("older files leave out what has a default", () => {
  const old = without(
    "rms_norm_eps",
    "num_key_value_heads",
    "rope_theta",
    "clip_qkv",
    "attention_bias",
    "tie_word_embeddings",
  );
  assert.deepEqual(parseHuggingFaceConfig(old, "c").model, parse().model);
  assert.equal(parse({ num_key_value_heads: null }).model.keyValueHeads, 4);
  const untyped = parseHuggingFaceConfig(without("model_type"), "c");
  assert.deepEqual(untyped.model, parse().model);
});

test("a size that is missing is a mistake, not a default", () => {
  for (const name of [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_experts",
  ]) {
    assert.throws(() => parseHuggingFaceConfig(without(name), "config.json"), new RegExp(`${name} is missing`));
  }
});

test("what would change the mathematics is refused with the reason", () => {
  refused({ hidden_act: "gelu" }, /hidden_act is "gelu", expected "silu"/);
  refused({ rope_scaling: { rope_type: "yarn", factor: 4 } }, /rope_scaling: rope type is "yarn"/);
  refused({ rope_scaling: { factor: 4 } }, /rope_scaling\.factor is 4, and only unscaled RoPE is built in/);
  refused({ num_experts: 3, num_local_experts: 4 }, /num_experts is 3, and num_local_experts, its other name, is 4/);
  refused({ rope_scaling: { type: "linear", factor: 2 } }, /rope type is "linear"/);
  refused({ rope_parameters: { rope_type: "llama3", rope_theta: 10_000 } }, /rope_parameters: rope type is "llama3"/);
  refused({ rope_parameters: { partial_rotary_factor: 0.5 } }, /partial_rotary_factor is 0.5/);
  refused({ sliding_window: 4096 }, /sliding_window is 4096/);
  refused({ head_dim: 4 }, /head_dim is 4, expected hidden_size ÷ num_attention_heads = 2/);
  refused({ quantization_config: { bits: 4 } }, /quantization_config/);
  refused({ num_attention_heads: 8, num_key_value_heads: 8 }, /head_dim is 1, expected an even number/);
  refused({ num_attention_heads: 3, num_key_value_heads: 3 }, /hidden_size is 8, expected a multiple/);
  refused(
    { num_key_value_heads: 3 },
    /num_attention_heads is 4, expected a multiple of num_key_value_heads, which is 3/,
  );
  refused({ num_experts_per_tok: 4 }, /num_experts_per_tok is 4, but the model has 3 experts/);
  refused({ clip_qkv: -1 }, /clip_qkv/);
  refused({ norm_topk_prob: "false" }, /norm_topk_prob/);
  refused({ num_hidden_layers: 1e9 }, /num_hidden_layers/);
  parse({ sliding_window: 4096, use_sliding_window: false });
  parse({ hidden_act: "swish", head_dim: 2, quantization_config: null, sliding_window: null });
});

test("other families are refused with what sets them apart", () => {
  refused({ model_type: "deepseek_v2" }, /DeepSeek has latent attention/);
  refused({ model_type: "llama" }, /dense/);
  refused({ model_type: "constructor" }, /model_type is "constructor", expected "olmoe".* or "\w+"$/);
  refused({ model_type: undefined, architectures: ["MixtralForCausalLM"] }, /model_type is missing/);
  assert.throws(() => parseHuggingFaceConfig([], "c"), InputError);
});

test("all mistakes of a file are said together", () => {
  const message = (() => {
    try {
      parse({ hidden_act: "relu", sliding_window: 5, num_experts_per_tok: 9 });
    } catch (error) {
      return (error as Error).message;
    }
    return "";
  })();
  for (const part of ["3 mistakes", "hidden_act", "sliding_window", "num_experts_per_tok"])
    assert.ok(message.includes(part), message);
});

test("a configuration that is written is read back as it was", () => {
  for (const change of [
    {},
    { num_key_value_heads: 1, clip_qkv: 3, tie_word_embeddings: true },
    { eos_token_id: [3, 4], pad_token_id: null },
  ]) {
    const read = parse(change);
    assert.deepEqual(parseHuggingFaceConfig(toHuggingFaceConfig(read, { dtype: "bfloat16" }), "c"), read);
  }
  assert.equal(toHuggingFaceConfig(parse(), { dtype: "float32", topK: 1 }).num_experts_per_tok, 1);
});

test("a file that is not JSON is named", (context) => {
  const path = join(temporaryFolder(context), "config.json");
  assert.throws(() => readHuggingFaceConfig(path), InputError);
  writeFileSync(path, "{");
  assert.throws(
    () => readHuggingFaceConfig(path),
    (error) => error instanceof InputError && error.message.startsWith(path),
  );
});

test("what is a float in transformers is written as one, since a clip_qkv of 8 is not", () => {
  const text = huggingFaceConfigText(parse({ clip_qkv: 8, rms_norm_eps: 1, rope_theta: 10_000 }), { dtype: "float32" });
  assert.match(text, /"clip_qkv": 8\.0,\n/);
  assert.match(text, /"rms_norm_eps": 1\.0,\n/);
  assert.match(text, /"rope_theta": 10000\.0,\n/);
  assert.match(text, /"hidden_size": 8,\n/);
  const read = parse({ clip_qkv: 0.5, rms_norm_eps: 1e-6, rope_theta: 1e25 });
  assert.deepEqual(parseHuggingFaceConfig(JSON.parse(huggingFaceConfigText(read, { dtype: "float32" })), "c"), read);
});
