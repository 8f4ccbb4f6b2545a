/**
 * A Hugging Face folder, opened and checked: `config.json` and safetensors, one file or several, experts stored
 * one by one or fused. Nothing is read beyond the headers until someone asks for a tensor.
 */

import { join } from "node:path";
import { InputError } from "../../base/errors.ts";
import { throwMistakes } from "../../base/problem.ts";
import { quoted } from "../../base/text.ts";
import { type ModelConfig, sparseLayers } from "../config.ts";
import { architectureOf } from "./architectures/all.ts";
import { type HuggingFaceConfig, readHuggingFaceConfig } from "./hf-config.ts";
import { floatDtypes } from "./safetensors.ts";
import { TensorFolder } from "./tensor-folder.ts";
import { type ExpertForms, embedName, headName, huggingFaceShapes, mixtureNames } from "./weight-table.ts";

export interface Checkpoint {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly description: HuggingFaceConfig;
  readonly forms: ExpertForms;
  /** The tensors as they are stored, under their Hugging Face names. */
  readonly weights: TensorFolder;
  /** Closes the files. */
  close(): void;
}

/**
 * Opens a model folder and checks all of it that can be checked without reading the weights.
 *
 * @throws InputError naming the file, the tensors that are missing, unexpected or misshaped, what was expected and what came
 */
export function loadCheckpoint(folder: string): Checkpoint {
  const description = readHuggingFaceConfig(join(folder, "config.json"));
  const weights = TensorFolder.open(folder);
  try {
    const config = description.model;
    const forms = expertForms(config, weights);
    checkTensors(config, forms, weights);
    if (config.tiedEmbeddings && weights.tensors.has(headName)) checkTied(weights);
    return { folder, config, description, forms, weights, close: () => weights.close() };
  } catch (error) {
    weights.close();
    throw error;
  }
}

function expertForms(config: ModelConfig, { tensors }: TensorFolder): ExpertForms {
  const { names: usual, inMemory } = architectureOf(config);
  const asInMemory = inMemory && { ...usual, ...inMemory };
  const first = sparseLayers(config)[0]!;
  const names = asInMemory && tensors.has(mixtureNames(asInMemory, first).gateUp) ? asInMemory : usual;
  const isAlways = names.leaves === null;
  const ofLayers = Array.from({ length: config.layers }, (_, layer) => mixtureNames(names, layer));
  return {
    names,
    gateUpFused: ofLayers.map(({ gateUp }) => isAlways || tensors.has(gateUp)),
    downFused: ofLayers.map(({ down }) => isAlways || tensors.has(down)),
  };
}

function checkTensors(config: ModelConfig, forms: ExpertForms, { folder, tensors }: TensorFolder): void {
  const problems: string[] = [];
  const expected = huggingFaceShapes(config, forms);
  for (const [name, shape] of expected) {
    const entry = tensors.get(name);
    if (entry === undefined) {
      problems.push(`tensor ${name} is missing, expected shape [${shape.join(", ")}]`);
      continue;
    }
    if (entry.shape.length !== shape.length || shape.some((length, axis) => entry.shape[axis] !== length)) {
      problems.push(`tensor ${name} has shape [${entry.shape.join(", ")}], expected [${shape.join(", ")}]`);
    }
    if (!floatDtypes.has(entry.dtype)) {
      problems.push(`tensor ${name} is ${entry.dtype}, expected a floating-point type (F32, BF16 or F16)`);
    }
  }
  for (const name of tensors.keys()) {
    if (!expected.has(name) && !isIgnored(name, config)) problems.push(unexpected(name, config));
  }
  throwMistakes(folder, problems);
}

/** Old checkpoints carry the RoPE frequencies, which the configuration fixes; a tied head repeats the embedding. */
const isIgnored = (name: string, { tiedEmbeddings }: ModelConfig): boolean =>
  name.endsWith(".self_attn.rotary_emb.inv_freq") || (tiedEmbeddings && name === headName);

function unexpected(name: string, { attentionBias }: ModelConfig): string {
  if (!attentionBias && /\.self_attn\.[qkvo]_proj\.bias$/.test(name)) {
    return `tensor ${quoted(name)} is unexpected: attention_bias is false in config.json`;
  }
  if (name.includes("shared_expert")) return `tensor ${quoted(name)} is unexpected: this model has no shared expert`;
  if (name.includes("lora_")) return `tensor ${quoted(name)} is unexpected: this is an adapter, not a model`;
  return `tensor ${quoted(name)} is unexpected`;
}

/** A head stored beside tied embeddings: harmless if it repeats the embedding, two models in one folder if not. */
function checkTied(weights: TensorFolder): void {
  const { size } = weights.tensors.get(embedName)!;
  let same = weights.tensors.get(headName)!.size === size;
  const chunk = 1 << 20;
  for (let first = 0; same && first < size; first += chunk) {
    const embed = new Float32Array(Math.min(chunk, size - first));
    const head = new Float32Array(embed.length);
    weights.readFloats(embedName, embed, first);
    weights.readFloats(headName, head, first);
    same = embed.every((value, i) => Object.is(value, head[i]));
  }
  if (!same) {
    const clash = `${headName} is stored and differs from ${embedName}`;
    throw new InputError(`${weights.folder}: tie_word_embeddings is true in config.json, but ${clash}`);
  }
}
