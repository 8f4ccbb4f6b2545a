/**
 * Small Hugging Face OLMoE folders with random weights, written by plain loops that share nothing with `src/model`, so
 * that reader and writer are not checked against themselves.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Rng } from "../../src/base/random.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";

export interface PlainTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** Fields of a small `config.json` as transformers 4 writes it. */
export const smallConfig = {
  model_type: "olmoe",
  architectures: ["OlmoeForCausalLM"],
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  num_experts: 3,
  num_experts_per_tok: 2,
  max_position_embeddings: 32,
  rope_theta: 10000.0,
  rope_scaling: null,
  rms_norm_eps: 1e-5,
  norm_topk_prob: false,
  tie_word_embeddings: false,
  attention_bias: false,
  clip_qkv: null,
  hidden_act: "silu",
  eos_token_id: 10,
  pad_token_id: 1,
  torch_dtype: "float32",
};

export type PlainConfig = typeof smallConfig;

/** Every tensor the folder of this configuration has, experts one by one, with random values. */
export function randomTensors(config: PlainConfig, seed = 1): Map<string, PlainTensor> {
  const { vocab_size: v, hidden_size: d, intermediate_size: f, num_attention_heads: heads } = config;
  const kv = (d / heads) * config.num_key_value_heads;
  const rng = new Rng(seed);
  const tensors = new Map<string, PlainTensor>();
  const add = (name: string, ...shape: number[]) => {
    const draws = rng.at("test tensor", tensors.size).at(0);
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < values.length; i++) values[i] = draws.normal();
    tensors.set(name, { shape, values });
  };
  add("model.embed_tokens.weight", v, d);
  if (!config.tie_word_embeddings) add("lm_head.weight", v, d);
  add("model.norm.weight", d);
  for (let l = 0; l < config.num_hidden_layers; l++) {
    const layer = `model.layers.${l}`;
    add(`${layer}.input_layernorm.weight`, d);
    add(`${layer}.post_attention_layernorm.weight`, d);
    for (const [name, out] of Object.entries({ q: d, k: kv, v: kv, o: d })) {
      add(`${layer}.self_attn.${name}_proj.weight`, out, d);
      if (config.attention_bias) add(`${layer}.self_attn.${name}_proj.bias`, out);
    }
    add(`${layer}.self_attn.q_norm.weight`, d);
    add(`${layer}.self_attn.k_norm.weight`, kv);
    add(`${layer}.mlp.gate.weight`, config.num_experts, d);
    for (let e = 0; e < config.num_experts; e++) {
      add(`${layer}.mlp.experts.${e}.gate_proj.weight`, f, d);
      add(`${layer}.mlp.experts.${e}.up_proj.weight`, f, d);
      add(`${layer}.mlp.experts.${e}.down_proj.weight`, d, f);
    }
  }
  return tensors;
}

/** The same tensors with the experts fused, as transformers 5 holds them in memory. */
export function fuseExperts(tensors: ReadonlyMap<string, PlainTensor>, config: PlainConfig): Map<string, PlainTensor> {
  const { hidden_size: d, intermediate_size: f, num_experts: experts } = config;
  const fused = new Map([...tensors].filter(([name]) => !name.includes(".experts.")));
  for (let l = 0; l < config.num_hidden_layers; l++) {
    const prefix = `model.layers.${l}.mlp.experts`;
    const gateUp: number[] = [];
    const down: number[] = [];
    for (let e = 0; e < experts; e++) {
      gateUp.push(...tensors.get(`${prefix}.${e}.gate_proj.weight`)!.values);
      gateUp.push(...tensors.get(`${prefix}.${e}.up_proj.weight`)!.values);
      down.push(...tensors.get(`${prefix}.${e}.down_proj.weight`)!.values);
    }
    fused.set(`${prefix}.gate_up_proj`, { shape: [experts, 2 * f, d], values: Float32Array.from(gateUp) });
    fused.set(`${prefix}.down_proj`, { shape: [experts, d, f], values: Float32Array.from(down) });
  }
  return fused;
}

/** A safetensors file of float32 tensors, byte by byte. */
export function plainSafetensors(tensors: ReadonlyMap<string, PlainTensor>): Buffer {
  const header: Record<string, unknown> = {};
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, { shape, values }] of tensors) {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [i, value] of values.entries()) bytes.writeFloatLE(value, i * 4);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + bytes.length] };
    data.push(bytes);
    offset += bytes.length;
  }
  return withHeader(JSON.stringify(header), Buffer.concat(data));
}

/** Header text and data as one file, the length in front. */
export function withHeader(header: string, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(header, "utf8");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

/** Writes a folder as transformers would: `config.json`, and one file or as many shards as asked for. */
export function writeFolder(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  tensors: ReadonlyMap<string, PlainTensor>,
  shards = 1,
): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  if (shards === 1) {
    writeFileSync(join(folder, "model.safetensors"), plainSafetensors(tensors));
    return;
  }
  const weightMap: Record<string, string> = {};
  const parts = Array.from({ length: shards }, () => new Map<string, PlainTensor>());
  for (const [i, [name, tensor]] of [...tensors].entries()) {
    const shard = i % shards;
    parts[shard]!.set(name, tensor);
    weightMap[name] = `model-${shard + 1}-of-${shards}.safetensors`;
  }
  for (const [shard, part] of parts.entries()) {
    writeFileSync(join(folder, `model-${shard + 1}-of-${shards}.safetensors`), plainSafetensors(part));
  }
  const index = { metadata: { total_size: 0 }, weight_map: weightMap };
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
}

/** Converts the model in `folder` into `cache`, unless it is there. */
export async function prepared(folder: string, cache: string) {
  const checkpoint = loadCheckpoint(folder);
  try {
    return await prepareBaseWeights(checkpoint, cache);
  } finally {
    checkpoint.close();
  }
}
