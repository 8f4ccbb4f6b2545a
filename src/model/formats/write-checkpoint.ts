/**
 * Writes base weights as a Hugging Face folder that transformers 4 and 5 load: `config.json` and one
 * `model.safetensors` with the experts one by one where the architecture has them so. The inverse of reading one; exact when stored as float32.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, onDisk, writeAtomically } from "../../base/disk.ts";
import { largestJson, readBytes } from "../../base/open.ts";
import { headPanels, type WeightSource } from "../base-weights.ts";
import { huggingFaceConfigText } from "./hf-config.ts";
import { dtypeNames, type StoredDtype, streamSafetensors } from "./safetensors-writer.ts";
import { transposeInto } from "./transpose.ts";
import { huggingFaceShapes, weightTable } from "./weight-table.ts";

export interface WriteCheckpointOptions {
  /** How weights are stored; narrowing rounds to nearest even. Default F32. */
  readonly dtype?: StoredDtype;
  readonly endTokens?: readonly number[];
  readonly padToken?: number | null;
  /** Experts per token that the folder's configuration asks for, if not the model's own: the budget k of a merge. */
  readonly topK?: number;
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

/** @throws MachineError if the disk refuses; InputError at a weight that the dtype cannot hold */
export function writeCheckpoint(folder: string, weights: WeightSource, options: WriteCheckpointOptions = {}): void {
  const { dtype = "F32", endTokens = [], padToken = null, topK = weights.config.topK, tokenizerFrom } = options;
  const { config } = weights;
  onDisk(`cannot write ${folder}`, () => {
    makeFolder(folder);
    const shapes = huggingFaceShapes(config);
    const specs = tensorOrder(weights).map((name) => ({ name, shape: shapes.get(name)! }));
    streamSafetensors(join(folder, "model.safetensors"), specs, tensorChunks(weights), { dtype });
    const text = huggingFaceConfigText({ model: config, endTokens, padToken }, { dtype: dtypeNames[dtype], topK });
    writeAtomically(join(folder, "config.json"), text);
    for (const file of tokenizerFrom === undefined ? [] : tokenizerFiles) {
      const from = join(tokenizerFrom!, file);
      if (existsSync(from)) writeAtomically(join(folder, file), readBytes(from, largestJson));
    }
  });
}

/** The blocks to write: a tied head is the embedding and is not stored again. */
function* storedBlocks({ config }: WeightSource) {
  const tied = new Set(config.tiedEmbeddings ? headPanels(config) : []);
  for (const block of weightTable(config)) if (!tied.has(block.tensor)) yield block;
}

/** A tensor that holds all experts is named by each of them, and a head in panels by each panel. */
const tensorOrder = (weights: WeightSource): string[] => [
  ...new Set([...storedBlocks(weights)].flatMap(({ sources }) => sources.map(({ name }) => name))),
];

/** All elements in the order of {@link tensorOrder}. */
function* tensorChunks(weights: WeightSource): Generator<Float32Array> {
  for (const { tensor, start, inputs, sources } of storedBlocks(weights)) {
    const columns = sources.reduce((sum, { outputs }) => sum + outputs, 0);
    const block = new Float32Array(columns * (inputs ?? 1));
    weights.read(tensor, block, start);
    if (inputs === null) {
      yield block;
      continue;
    }
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
