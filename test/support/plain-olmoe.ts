/**
 * The OLMoE forward pass in plain float64 loops, from the tensors as Hugging Face stores them. Written from the paper and
 * the definition of the checkpoint; it shares nothing with `src/model` or `src/tensor`.
 *
 * Muennighoff et al., "OLMoE", 2024, https://arxiv.org/abs/2409.02060.
 */
import type { PlainConfig, PlainTensor } from "./model-folder.ts";

/** The fields that this forward pass reads; `clip_qkv` may be a number here. */
export type OlmoeConfig = Omit<PlainConfig, "clip_qkv"> & { readonly clip_qkv: number | null };

type Vector = number[];

/** Logits of every position of one sequence: `[position][token]`. */
export function plainLogits(
  config: OlmoeConfig,
  tensors: ReadonlyMap<string, PlainTensor>,
  ids: readonly number[],
): Vector[] {
  const { hidden_size: width, rms_norm_eps: epsilon } = config;
  const get = (name: string): PlainTensor => tensors.get(name)!;
  const embedding = get("model.embed_tokens.weight");
  const head = config.tie_word_embeddings ? embedding : get("lm_head.weight");

  let hidden = ids.map((id) => [...embedding.values.subarray(id * width, (id + 1) * width)]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const of = (name: string): PlainTensor | undefined => tensors.get(`model.layers.${layer}.${name}`);
    const attended = attention(
      config,
      of,
      hidden.map((h) => rms(h, of("input_layernorm.weight")!, epsilon)),
    );
    hidden = hidden.map((h, position) => plus(h, attended[position]!));
    hidden = hidden.map((h) => plus(h, experts(config, of, rms(h, of("post_attention_layernorm.weight")!, epsilon))));
  }
  return hidden.map((h) => linear(head, rms(h, get("model.norm.weight"), epsilon)));
}

type Layer = (name: string) => PlainTensor | undefined;

function attention(config: OlmoeConfig, of: Layer, inputs: readonly Vector[]): Vector[] {
  const { num_attention_heads: heads, num_key_value_heads: keyHeads, hidden_size: width } = config;
  const size = width / heads;
  const limit = config.clip_qkv ?? Number.POSITIVE_INFINITY;
  const clamp = (v: Vector) => v.map((x) => Math.max(-limit, Math.min(limit, x)));
  const project = (name: string, x: Vector) => {
    const bias = of(`self_attn.${name}_proj.bias`);
    const y = linear(of(`self_attn.${name}_proj.weight`)!, x);
    return config.attention_bias ? plus(y, [...bias!.values]) : y;
  };
  const normed = (name: string, x: Vector) =>
    clamp(rms(project(name, x), of(`self_attn.${name}_norm.weight`)!, config.rms_norm_eps));
  const queries = inputs.map((x, position) => rotate(normed("q", x), size, position, config.rope_theta));
  const keys = inputs.map((x, position) => rotate(normed("k", x), size, position, config.rope_theta));
  const values = inputs.map((x) => clamp(project("v", x)));

  return inputs.map((_, position) => {
    const merged: Vector = [];
    for (let head = 0; head < heads; head++) {
      // Each key head serves `heads ÷ keyHeads` neighbouring query heads.
      const shared = Math.floor(head / (heads / keyHeads));
      const query = part(queries[position]!, head, size);
      const scores = keys.slice(0, position + 1).map((key) => dot(query, part(key, shared, size)) / Math.sqrt(size));
      const weights = softmax(scores);
      for (let i = 0; i < size; i++) {
        merged.push(weights.reduce((sum, weight, at) => sum + weight * part(values[at]!, shared, size)[i]!, 0));
      }
    }
    return project("o", merged);
  });
}

/** Pairs (m, m + size/2) of each head turn by position · θ^(−2m/size). */
function rotate(x: Vector, size: number, position: number, theta: number): Vector {
  const turned = [...x];
  for (let first = 0; first < x.length; first += size) {
    for (let m = 0; m < size / 2; m++) {
      const angle = position * theta ** ((-2 * m) / size);
      const [a, b] = [x[first + m]!, x[first + m + size / 2]!];
      turned[first + m] = a * Math.cos(angle) - b * Math.sin(angle);
      turned[first + m + size / 2] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return turned;
}

function experts(config: OlmoeConfig, of: Layer, x: Vector): Vector {
  const probabilities = softmax(linear(of("mlp.gate.weight")!, x));
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!);
  const chosen = order.slice(0, config.num_experts_per_tok);
  const kept = chosen.reduce((sum, expert) => sum + probabilities[expert]!, 0);
  let output: Vector = x.map(() => 0);
  for (const expert of chosen) {
    const projection = (name: string) => of(`mlp.experts.${expert}.${name}_proj.weight`)!;
    const gate = linear(projection("gate"), x);
    const up = linear(projection("up"), x);
    const hidden = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
    const weight = config.norm_topk_prob ? probabilities[expert]! / kept : probabilities[expert]!;
    output = plus(
      output,
      linear(projection("down"), hidden).map((y) => weight * y),
    );
  }
  return output;
}

function rms(x: Vector, { values }: PlainTensor, epsilon: number): Vector {
  const scale = 1 / Math.sqrt(dot(x, x) / x.length + epsilon);
  return x.map((value, i) => value * scale * values[i]!);
}

/** W·x with W stored `[out, in]`. */
function linear({ shape, values }: PlainTensor, x: Vector): Vector {
  const [out, inner] = shape as readonly [number, number];
  return Array.from({ length: out }, (_, row) => dot([...values.subarray(row * inner, (row + 1) * inner)], x));
}

function softmax(x: Vector): Vector {
  const top = Math.max(...x);
  const sum = x.reduce((total, value) => total + Math.exp(value - top), 0);
  return x.map((value) => Math.exp(value - top) / sum);
}

const dot = (a: Vector, b: Vector): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const plus = (a: Vector, b: Vector): Vector => a.map((value, i) => value + b[i]!);
const part = (x: Vector, head: number, size: number): Vector => x.slice(head * size, (head + 1) * size);
