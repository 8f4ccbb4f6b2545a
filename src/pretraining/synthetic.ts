/**
 * A checkpoint of a given shape with random weights, so that shape, memory and speed of a model can be tried without having
 * the model. As before OLMoE's pre-training, matrices are normal with standard deviation 0.02, cut at three of them, and
 * norms are 1; biases are 0. Stored as bfloat16, in shards as transformers writes them.
 *
 * A weight is 16 bits of AES-128 in counter mode, under a key of seed and tensor: the number of one of 65,536 quantiles.
 * That is a few nanoseconds a weight, the bytes are the same on every machine, and a layer has the same weights however many
 * there are.
 *
 * Muennighoff et al., "OLMoE", 2024, https://arxiv.org/abs/2409.02060.
 */
import { createCipheriv, createHash } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import { probit } from "simple-statistics";
import { Draft, diskError, syncFolder, writeAtomically } from "../base/disk.ts";
import { byteTokenizer } from "../data/tokenizer.ts";
import type { ModelConfig } from "../model/config.ts";
import { huggingFaceConfigText } from "../model/formats/hf-config.ts";
import { encodeHeader, type TensorSpec } from "../model/formats/safetensors-writer.ts";
import { indexName, indexText, shardsOf } from "../model/formats/shards.ts";
import { huggingFaceShapes } from "../model/formats/weight-table.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import { narrowBfloat } from "../tensor/stored/half.ts";
import { byteTokenizerFiles } from "./byte-tokenizer.ts";

export interface SynthesisOptions {
  readonly seed: number;
  /** Bytes of tensors in one file, unless a single tensor is larger. Default 5 GB, as in transformers. */
  readonly shardBytes?: number;
  /** Stops between two chunks; the synthesis then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes of tensors that are on disk. */
  readonly onProgress?: (done: number) => void;
}

const bytesPerWeight = 2;

/** Of a chunk, and between two calls that wait for the disk: progress is of what is there, not of what will be. */
const chunkBytes = 4 << 20;
const syncBytes = 64 << 20;

const deviation = 0.02;
/** Probability below −3 standard deviations. */
const cut = 0.001349898;

/** What the name of a shard ends in until all are whole. */
export const unfinished = ".safetensors.partial";

/** Bytes of all tensors. */
export function synthesizedBytes(config: ModelConfig): number {
  let bytes = 0;
  for (const shape of huggingFaceShapes(config).values()) bytes += sizeOf(shape) * bytesPerWeight;
  return bytes;
}

/**
 * Fills a folder that is there, and removes what a synthesis left in it that was killed. `config.json` is written last:
 * without it a folder is no model.
 *
 * @throws MachineError if the disk refuses; nothing of it is left behind then, nor after an abort
 */
export async function synthesize(folder: string, config: ModelConfig, options: SynthesisOptions): Promise<void> {
  const { shardBytes, signal, onProgress } = options;
  const specs = Array.from(huggingFaceShapes(config), ([name, shape]) => ({ name, shape }));
  const shards = shardsOf(specs, bytesPerWeight, shardBytes);
  const draft = new Draft();
  let done = 0;
  try {
    for (const name of readdirSync(folder)) if (name.endsWith(unfinished)) rmSync(join(folder, name));
    for (const [file, specs] of shards) {
      await writeShard(draft.add(join(folder, `${file}.partial`)), specs, options.seed, (bytes) => {
        signal?.throwIfAborted();
        done += bytes;
        onProgress?.(done);
      });
    }
    const write = (name: string, text: string) => writeAtomically(draft.add(join(folder, name)), text);
    for (const [name, text] of byteTokenizerFiles()) write(name, text);
    if (shards.size > 1) write(indexName, indexText(shards, synthesizedBytes(config)));
    for (const file of shards.keys()) {
      await rename(join(folder, `${file}.partial`), draft.add(join(folder, file)));
    }
    syncFolder(folder);
    const { end, pad } = byteTokenizer;
    write(
      "config.json",
      huggingFaceConfigText({ model: config, endTokens: [end], padToken: pad }, { dtype: "bfloat16" }),
    );
    draft.keep();
  } catch (error) {
    throw diskError(`cannot write ${folder}`, error);
  } finally {
    draft.remove();
  }
}

async function writeShard(
  path: string,
  specs: readonly TensorSpec[],
  seed: number,
  written: (bytes: number) => void,
): Promise<void> {
  const file = await open(path, "w");
  try {
    await file.writeFile(encodeHeader(specs, "BF16").header);
    let waiting = 0;
    const sync = async () => {
      await file.sync();
      written(waiting);
      waiting = 0;
    };
    for (const spec of specs) {
      for (const chunk of weightsOf(spec, seed)) {
        await file.writeFile(chunk);
        waiting += chunk.length;
        if (waiting >= syncBytes) await sync();
      }
    }
    await sync();
  } finally {
    await file.close();
  }
}

/** The elements of a tensor as bfloat16, in pieces. */
function* weightsOf({ name, shape }: TensorSpec, seed: number): Generator<Uint8Array> {
  const bytes = sizeOf(shape) * bytesPerWeight;
  if (shape.length === 1) {
    const values = new Float32Array(sizeOf(shape)).fill(name.endsWith(".bias") ? 0 : 1);
    yield bytesOf(asBfloat(values));
    return;
  }
  const key = createHash("sha256").update(`${seed} ${name}`).digest().subarray(0, 16);
  const cipher = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  for (let first = 0; first < bytes; first += chunkBytes) {
    const chunk = cipher.update(zeros.subarray(0, Math.min(chunkBytes, bytes - first)));
    const words = new Uint16Array(chunk.buffer, chunk.byteOffset, chunk.length / bytesPerWeight);
    for (let at = 0; at < words.length; at++) words[at] = quantiles[words[at]!]!;
    yield chunk;
  }
}

const zeros = new Uint8Array(chunkBytes);

const quantiles = asBfloat(
  Float32Array.from({ length: 2 ** 16 }, (_, at) => deviation * probit(cut + ((1 - 2 * cut) * (at + 0.5)) / 2 ** 16)),
);

function asBfloat(values: Float32Array): Uint16Array {
  const narrow = new Uint16Array(values.length);
  narrowBfloat(values, narrow);
  return narrow;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint16Array) => new Uint8Array(buffer, byteOffset, byteLength);
