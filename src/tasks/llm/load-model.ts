/** A base model as whoever trains, evaluates or generates needs it: configuration, tokenizer, weights in executor layout. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { InputError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { byteTokenizer, type Tokenizer } from "../../data/tokenizer.ts";
import type { BaseForm, BaseWeights } from "../../model/base-weights.ts";
import type { ModelConfig } from "../../model/config.ts";
import { isBaseFolder, openBaseFolder } from "../../model/formats/base-folder.ts";
import { type Checkpoint, loadCheckpoint } from "../../model/formats/checkpoint.ts";
import { checkpointDigest } from "../../model/formats/checkpoint-digest.ts";
import type { ConversionOptions } from "../../model/formats/convert-weights.ts";
import { type HuggingFaceConfig, readHuggingFaceConfig } from "../../model/formats/hf-config.ts";
import { defaultWeightsCache, prepareBaseWeights } from "../../model/formats/prepare-weights.ts";

/** What a run without training has to do with its model: sizes and costs follow from the shape. */
export const shapeDigest = (config: ModelConfig): string => sha256(JSON.stringify(config));

export interface OpenedModel {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly description: HuggingFaceConfig;
  /** @throws InputError when the folder has no tokenizer and the model does not read bytes */
  tokenizer(): Promise<Tokenizer>;
  /** Converts the weights unless that was done before. @throws InputError naming every tensor that is wrong */
  weights(cache?: string, options?: ConversionOptions): Promise<BaseWeights>;
  /** That of the weights, without converting them. */
  digest(cache?: string): Promise<string>;
}

/**
 * Opens a folder in Hugging Face layout. Only its configuration is read until more is asked for.
 *
 * @param form of the weights; that of the folder, else float32, unless given
 * @throws InputError when there is no configuration, or one of an architecture that is not read
 */
export function openModel(folder: string, form?: BaseForm): OpenedModel {
  const path = join(folder, "config.json");
  if (!existsSync(path)) {
    throw new InputError(`${path} does not exist; expected a Hugging Face model folder, or "embedded"`);
  }
  const description = readHuggingFaceConfig(path);
  const config = description.model;
  return {
    folder,
    config,
    description,
    tokenizer: () => openTokenizer(folder, config),
    async weights(cache = defaultWeightsCache(), options = {}) {
      if (isBaseFolder(folder)) return openBaseFolder(folder, config, form, cache);
      return withCheckpoint(folder, (checkpoint) =>
        prepareBaseWeights(checkpoint, cache, { ...given({ form }), ...options }),
      );
    },
    async digest(cache = defaultWeightsCache()) {
      if (isBaseFolder(folder)) return openBaseFolder(folder, config, form, cache).digest;
      return withCheckpoint(folder, async (checkpoint) => checkpointDigest(checkpoint, cache, form));
    },
  };
}

async function withCheckpoint<Result>(folder: string, use: (checkpoint: Checkpoint) => Promise<Result>) {
  const checkpoint = loadCheckpoint(folder);
  try {
    return await use(checkpoint);
  } finally {
    checkpoint.close();
  }
}

/** The folder's own tokenizer; bytes for models with the embedding table of the byte tokenizer. */
async function openTokenizer(folder: string, { vocabulary }: ModelConfig): Promise<Tokenizer> {
  const path = join(folder, "tokenizer.json");
  const hasOwn = existsSync(path);
  if (!hasOwn && vocabulary !== byteTokenizer.vocabulary) {
    throw new InputError(
      `${path} does not exist, and the model's ${vocabulary} tokens are not the ${byteTokenizer.vocabulary} of the byte ` +
        "tokenizer; expected the model's tokenizer.json",
    );
  }
  const tokenizer = hasOwn
    ? await (await import("../../data/hf-tokenizer.ts")).loadHuggingFaceTokenizer(folder)
    : byteTokenizer;
  if (tokenizer.vocabulary > vocabulary) {
    throw new InputError(`${path} has ${tokenizer.vocabulary} tokens, but the model has embeddings for ${vocabulary}`);
  }
  return tokenizer;
}
