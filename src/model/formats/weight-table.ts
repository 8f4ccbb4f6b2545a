/**
 * Which tensors of a Hugging Face folder make up which tensor of the executor layout. Both directions of the
 * conversion walk this one table, so what one writes the other reads.
 *
 * Hugging Face stores a linear map as `[out, in]`, executors read `[in, out]`: a block is the transposes of its sources
 * side by side. Names are exactly those of transformers, in OLMoE's case: `mlp.gate` is
 * the router and `gate_proj` a part of an expert.
 */
import { attentionWidths, headPanels, qkNormWidths } from "../base-weights.ts";
import type { ModelConfig } from "../config.ts";
import { architectureOf } from "./architectures/all.ts";
import type { ExpertNames } from "./architectures/architecture.ts";

export interface BlockSource {
  readonly name: string;
  /** First element within the source tensor. */
  readonly start: number;
  /** Rows taken from the source, or its elements where nothing is transposed. */
  readonly outputs: number;
}

/** A stretch of one executor tensor. Blocks in table order fill every tensor from its first element to its last. */
export interface Block {
  readonly tensor: string;
  /** First element within the executor tensor. */
  readonly start: number;
  /** Rows of the block, each as long as all `outputs` together; null if the sources are copied end to end instead. */
  readonly inputs: number | null;
  readonly sources: readonly BlockSource[];
}

/**
 * How the experts of each layer are stored: one tensor per expert and projection (transformers 4, and what 5 writes),
 * or `gate_up_proj` and `down_proj` with all experts in one (transformers 5 in memory).
 */
export interface ExpertForms {
  readonly names: ExpertNames;
  /** `[layers]` */
  readonly gateUpFused: readonly boolean[];
  /** `[layers]` */
  readonly downFused: readonly boolean[];
}

/** As transformers writes the architecture. */
function usualForms(config: ModelConfig): ExpertForms {
  const { names } = architectureOf(config);
  const fused = new Array<boolean>(config.layers).fill(names.leaves === null);
  return { names, gateUpFused: fused, downFused: fused };
}

export const embedName = "model.embed_tokens.weight";
export const headName = "lm_head.weight";

const sharedExpert = (layer: number) => `model.layers.${layer}.mlp.shared_expert`;
const sharedGate = (layer: number) => `model.layers.${layer}.mlp.shared_expert_gate.weight`;

/** Names of one layer's router and experts. */
export function mixtureNames({ block, router, leaves, fused }: ExpertNames, layer: number) {
  const prefix = `model.layers.${layer}.${block}`;
  return {
    router: `${prefix}.${router}`,
    gateUp: `${prefix}.${fused.gateUp}`,
    down: `${prefix}.${fused.down}`,
    /** Of one expert; only where the architecture stores them so. */
    expert: (expert: number, projection: "gate" | "up" | "down") =>
      `${prefix}.experts.${expert}.${leaves?.[projection]}.weight`,
  };
}

/** The whole table, in the order of the executor layout. */
export function* weightTable(config: ModelConfig, forms: ExpertForms = usualForms(config)): Generator<Block> {
  const { vocabulary, width: d } = config;
  yield copy("embed", [embedName, vocabulary * d]);
  yield* headBlocks(config);
  yield copy("norm", ["model.norm.weight", d]);
  for (let layer = 0; layer < config.layers; layer++) {
    yield* attentionBlocks(config, layer);
    if (config.dense?.layers.includes(layer)) {
      yield* mlpBlocks(config, `layers.${layer}.mlp`, `model.layers.${layer}.mlp`, config.dense.width);
      continue;
    }
    yield* expertBlocks(config, layer, forms);
    if (config.sharedWidth === undefined) continue;
    yield* mlpBlocks(config, `layers.${layer}.shared`, sharedExpert(layer), config.sharedWidth);
    yield transpose(`layers.${layer}.sharedGate`, config.width, [sharedGate(layer), 1]);
  }
}

function* headBlocks(config: ModelConfig): Generator<Block> {
  const name = config.tiedEmbeddings ? embedName : headName;
  const panels = headPanels(config);
  const outputs = config.vocabulary / panels.length;
  for (const [panel, tensor] of panels.entries()) {
    const source = { name, start: panel * outputs * config.width, outputs };
    yield { tensor, start: 0, inputs: config.width, sources: [source] };
  }
}

function* attentionBlocks(config: ModelConfig, layer: number): Generator<Block> {
  const { width: d, attentionBias } = config;
  const { query, keyValue } = attentionWidths(config);
  const to = (name: string) => `layers.${layer}.${name}`;
  const from = (name: string) => `model.layers.${layer}.${name}`;
  const attention = (name: string) => from(`self_attn.${name}`);
  yield copy(to("inputNorm"), [from("input_layernorm.weight"), d]);
  yield copy(to("postNorm"), [from("post_attention_layernorm.weight"), d]);
  const qkv = (part: "weight" | "bias"): [name: string, outputs: number][] => [
    [attention(`q_proj.${part}`), query],
    [attention(`k_proj.${part}`), keyValue],
    [attention(`v_proj.${part}`), keyValue],
  ];
  yield transpose(to("qkv"), d, ...qkv("weight"));
  if (attentionBias) yield copy(to("qkvBias"), ...qkv("bias"));
  const norms = qkNormWidths(config);
  if (norms.query > 0) {
    yield copy(to("qNorm"), [attention("q_norm.weight"), norms.query]);
    yield copy(to("kNorm"), [attention("k_norm.weight"), norms.keyValue]);
  }
  yield transpose(to("o"), query, [attention("o_proj.weight"), d]);
  if (attentionBias === true) yield copy(to("oBias"), [attention("o_proj.bias"), d]);
}

function* expertBlocks(config: ModelConfig, layer: number, forms: ExpertForms): Generator<Block> {
  const { width: d, experts, expertWidth: f } = config;
  const names = mixtureNames(forms.names, layer);
  yield transpose(`layers.${layer}.router`, d, [names.router, experts]);
  for (let expert = 0; expert < experts; expert++) {
    const size = 2 * f * d;
    const sources = forms.gateUpFused[layer]
      ? // Rows 0 … f − 1 of an expert are gate, the rest up.
        [{ name: names.gateUp, start: expert * size, outputs: 2 * f }]
      : [whole(names.expert(expert, "gate"), f), whole(names.expert(expert, "up"), f)];
    yield { tensor: `layers.${layer}.gateUp`, start: expert * size, inputs: d, sources };
  }
  for (let expert = 0; expert < experts; expert++) {
    const size = f * d;
    const source = forms.downFused[layer]
      ? { name: names.down, start: expert * size, outputs: d }
      : whole(names.expert(expert, "down"), d);
    yield { tensor: `layers.${layer}.down`, start: expert * size, inputs: f, sources: [source] };
  }
}

/** An MLP that every token passes. */
function* mlpBlocks({ width: d }: ModelConfig, to: string, from: string, inner: number): Generator<Block> {
  yield transpose(`${to}GateUp`, d, [`${from}.gate_proj.weight`, inner], [`${from}.up_proj.weight`, inner]);
  yield transpose(`${to}Down`, inner, [`${from}.down_proj.weight`, d]);
}

const whole = (name: string, outputs: number): BlockSource => ({ name, start: 0, outputs });

const copy = (tensor: string, ...sources: [name: string, elements: number][]): Block => ({
  tensor,
  start: 0,
  inputs: null,
  sources: sources.map(([name, elements]) => whole(name, elements)),
});

const transpose = (tensor: string, inputs: number, ...sources: [name: string, outputs: number][]): Block => ({
  tensor,
  start: 0,
  inputs,
  sources: sources.map(([name, outputs]) => whole(name, outputs)),
});

/** Name and shape of every tensor that a folder of this configuration holds. */
export function huggingFaceShapes(
  config: ModelConfig,
  forms: ExpertForms = usualForms(config),
): Map<string, readonly number[]> {
  const { vocabulary, layers, width: d, experts, expertWidth: f, attentionBias, tiedEmbeddings } = config;
  const { dense, sharedWidth } = config;
  const { query, keyValue } = attentionWidths(config);
  const norms = qkNormWidths(config);
  const shapes = new Map<string, readonly number[]>([[embedName, [vocabulary, d]]]);
  for (let layer = 0; layer < layers; layer++) {
    const set = (name: string, ...shape: number[]) => shapes.set(`model.layers.${layer}.${name}`, shape);
    set("input_layernorm.weight", d);
    set("post_attention_layernorm.weight", d);
    set("self_attn.q_proj.weight", query, d);
    set("self_attn.k_proj.weight", keyValue, d);
    set("self_attn.v_proj.weight", keyValue, d);
    set("self_attn.o_proj.weight", d, query);
    if (attentionBias) {
      set("self_attn.q_proj.bias", query);
      set("self_attn.k_proj.bias", keyValue);
      set("self_attn.v_proj.bias", keyValue);
      if (attentionBias === true) set("self_attn.o_proj.bias", d);
    }
    if (norms.query > 0) {
      set("self_attn.q_norm.weight", norms.query);
      set("self_attn.k_norm.weight", norms.keyValue);
    }
    const setMlp = (prefix: string, inner: number) => {
      shapes.set(`${prefix}.gate_proj.weight`, [inner, d]);
      shapes.set(`${prefix}.up_proj.weight`, [inner, d]);
      shapes.set(`${prefix}.down_proj.weight`, [d, inner]);
    };
    if (dense?.layers.includes(layer)) {
      setMlp(`model.layers.${layer}.mlp`, dense.width);
      continue;
    }
    const names = mixtureNames(forms.names, layer);
    shapes.set(names.router, [experts, d]);
    if (sharedWidth !== undefined) {
      setMlp(sharedExpert(layer), sharedWidth);
      shapes.set(sharedGate(layer), [1, d]);
    }
    if (forms.gateUpFused[layer]) shapes.set(names.gateUp, [experts, 2 * f, d]);
    if (forms.downFused[layer]) shapes.set(names.down, [experts, d, f]);
    for (let expert = 0; expert < experts; expert++) {
      if (!forms.gateUpFused[layer]) {
        shapes.set(names.expert(expert, "gate"), [f, d]);
        shapes.set(names.expert(expert, "up"), [f, d]);
      }
      if (!forms.downFused[layer]) shapes.set(names.expert(expert, "down"), [d, f]);
    }
  }
  shapes.set("model.norm.weight", [d]);
  if (!tiedEmbeddings) shapes.set(headName, [vocabulary, d]);
  return shapes;
}
