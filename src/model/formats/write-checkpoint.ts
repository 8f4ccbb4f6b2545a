/**
 * Writes base weights as a Hugging Face folder that transformers 4 and 5 load: `config.json` and `model.safetensors`, or shards
 * with their index, with the experts one by one where the architecture has them so. The inverse of reading one; exact when stored
 * as float32. What is in memory is an expert or a few million weights, however large the model is.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Draft, makeFolder, onDisk, writeAtomically } from "../../base/disk.ts";
import { largestJson, readBytes } from "../../base/open.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { headPanels, type WeightSource } from "../base-weights.ts";
import { huggingFaceConfigText } from "./hf-config.ts";
import { dtypeBytes } from "./safetensors-header.ts";
import { dtypeNames, type StoredDtype, streamSafetensors, type TensorSpec } from "./safetensors-writer.ts";
import { indexName, indexText, shardsOf } from "./shards.ts";
import { transposeInto } from "./transpose.ts";
import { type BlockSource, huggingFaceShapes, weightTable } from "./weight-table.ts";

export interface WriteCheckpointOptions {
  /** How weights are stored; narrowing rounds to nearest even. Default F32. */
  readonly dtype?: StoredDtype;
  readonly endTokens?: readonly number[];
  readonly padToken?: number | null;
  /** Experts per token that the folder's configuration asks for, if not the model's own: the budget k of a merge. */
  readonly topK?: number;
  /** Bytes of tensors in one file at most. */
  readonly shardBytes?: number;
  /** Called now and then with the bytes of tensors written so far, and of all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** A model folder whose tokenizer files are copied along. */
  readonly tokenizerFrom?: string;
}

export const tokenizerFiles = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
];

/** Elements handed over at a time. */
const chunkSize = 1 << 22;

/**
 * `config.json` is written last: without it a folder is no model.
 *
 * @throws MachineError if the disk refuses; InputError at a weight that the dtype cannot hold; nothing new is left behind then
 */
export function writeCheckpoint(folder: string, weights: WeightSource, options: WriteCheckpointOptions = {}): void {
  const { dtype = "F32", endTokens = [], padToken = null, topK = weights.config.topK, tokenizerFrom } = options;
  const { config } = weights;
  const draft = new Draft();
  const write = (file: string, action: (path: string) => void): void => {
    const path = join(folder, file);
    if (!existsSync(path)) draft.add(path);
    action(path);
  };
  const writeBytes = (file: string, bytes: Uint8Array | string) => write(file, (path) => writeAtomically(path, bytes));
  onDisk(`cannot write ${folder}`, () => {
    try {
      makeFolder(folder);
      writeTensors(weights, { ...options, dtype }, write);
      for (const file of tokenizerFrom === undefined ? [] : tokenizerFiles) {
        const from = join(tokenizerFrom!, file);
        if (existsSync(from)) writeBytes(file, readBytes(from, largestJson));
      }
      const model = { model: config, endTokens, padToken };
      writeBytes("config.json", huggingFaceConfigText(model, { dtype: dtypeNames[dtype], topK }));
      draft.keep();
    } finally {
      draft.remove();
    }
  });
}

function writeTensors(
  weights: WeightSource,
  { dtype = "F32", shardBytes, onProgress }: WriteCheckpointOptions,
  write: (file: string, action: (path: string) => void) => void,
): void {
  const shapes = huggingFaceShapes(weights.config);
  const specs = tensorOrder(weights).map((name) => ({ name, shape: shapes.get(name)! }));
  const total = weightsIn(specs);
  const bytesPerWeight = dtypeBytes[dtype];
  const shards = shardsOf(specs, bytesPerWeight, shardBytes);
  const chunks = tensorChunks(weights);
  let done = 0;
  function* next(count: number): Generator<Float32Array> {
    for (const end = done + count; done < end; ) {
      // No chunk reaches over the end of a tensor.
      const chunk = chunks.next().value as Float32Array;
      yield chunk;
      done += chunk.length;
      onProgress?.(done * bytesPerWeight, total * bytesPerWeight);
    }
  }
  for (const [file, tensors] of shards) {
    write(file, (path) => streamSafetensors(path, tensors, next(weightsIn(tensors)), { dtype }));
  }
  if (shards.size > 1) {
    write(indexName, (path) => writeAtomically(path, indexText(shards, total * bytesPerWeight)));
  }
}

const weightsIn = (specs: readonly TensorSpec[]): number => specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0);

/** The blocks to write: a tied head is the embedding and is not stored again. */
function* storedBlocks({ config }: WeightSource) {
  const tied = new Set(config.tiedEmbeddings ? headPanels(config) : []);
  for (const block of weightTable(config)) if (!tied.has(block.tensor)) yield block;
}

/** A tensor that holds all experts is named by each of them, and a head in panels by each panel. */
const tensorOrder = (weights: WeightSource): string[] => [
  ...new Set([...storedBlocks(weights)].flatMap(({ sources }) => sources.map(({ name }) => name))),
];

/** The sources end to end, each in pieces. */
function* stretches(sources: readonly BlockSource[]) {
  let first = 0;
  for (const { outputs } of sources) {
    for (const end = first + outputs; first < end; ) {
      const count = Math.min(chunkSize, end - first);
      yield { first, outputs: count };
      first += count;
    }
  }
}

/** All elements in the order of {@link tensorOrder}. */
function* tensorChunks(weights: WeightSource): Generator<Float32Array> {
  for (const { tensor, start, inputs, sources } of storedBlocks(weights)) {
    const columns = sources.reduce((sum, { outputs }) => sum + outputs, 0);
    if (inputs === null) {
      for (const { outputs, first } of stretches(sources)) {
        const chunk = new Float32Array(outputs);
        weights.read(tensor, chunk, start + first);
        yield chunk;
      }
      continue;
    }
    const block = new Float32Array(columns * inputs);
    weights.read(tensor, block, start);
    let column = 0;
    for (const { outputs } of sources) {
      const rows = Math.max(1, Math.floor(chunkSize / inputs));
      for (let first = 0; first < outputs; first += rows) {
        const count = Math.min(rows, outputs - first);
        const strip = new Float32Array(count * inputs);
        transposeInto(block, columns, column + first, strip, inputs, 0, inputs, count);
        yield strip;
      }
      column += outputs;
    }
  }
}
