/** A base model with random weights, small enough that a test can train it with the real engine. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { randomTensors, smallConfig, writeFolder } from "./model-folder.ts";

export const tinyConfig = {
  ...smallConfig,
  vocab_size: 264,
  hidden_size: 16,
  intermediate_size: 8,
  num_hidden_layers: 2,
  num_experts: 4,
  num_experts_per_tok: 4,
  max_position_embeddings: 96,
  eos_token_id: 257,
  pad_token_id: 256,
};

/** Writes the model into a folder of its own inside `parent`. */
export function tinyModel(parent: string, leaveOut?: string): string {
  const folder = join(parent, "tiny-model");
  mkdirSync(folder, { recursive: true });
  const tensors = randomTensors(tinyConfig);
  if (leaveOut !== undefined) tensors.delete(leaveOut);
  writeFolder(folder, tinyConfig, tensors);
  return folder;
}
