/**
 * What the dense base model reads: generated instructions of all families in the prompt format, as many as it wants.
 * A tenth of all questions and more, by the hash that splits go by, never occurs: these can be held out.
 */
import type { Rng } from "../base/random.ts";
import { type Batch, packedBatch } from "../data/batches.ts";
import { questionHash } from "../data/example.ts";
import { FAMILIES } from "../data/families.ts";
import { defaultTemplate, promptEncoder } from "../data/template.ts";
import { pick } from "../data/text.ts";
import { type CorpusBatchOptions, laneOf } from "./corpus.ts";

/** Questions whose hash is smaller are never read; a scenario that holds out no larger share asks what is new. */
const unread = 0.2;

/** The batch of pre-training step `step ≥ 1`, as `corpusBatch` gives it. */
export function instructionBatch(rng: Rng, step: number, options: CorpusBatchOptions): Batch {
  const { rows, length, tokenizer, part = "train" } = options;
  const tokens = new Int32Array(rows * (length + 1));
  const prompt = promptEncoder(defaultTemplate(tokenizer), tokenizer);
  const streams = laneOf(rng, part, step);
  for (let row = 0; row < rows; row++) {
    const draws = streams.at(row);
    const run = tokens.subarray(row * (length + 1), (row + 1) * (length + 1));
    for (let filled = 0; filled < run.length; ) {
      const { instruction, input, response } = pick(FAMILIES, draws).draw(draws);
      if (questionHash({ instruction, input }) < unread !== (part === "heldOut")) continue;
      const parts = [...prompt(instruction, input).map(({ ids }) => ids), tokenizer.encode(response)];
      const document = [...parts.flatMap((ids) => [...ids]), tokenizer.end].slice(0, run.length - filled);
      run.set(document, filled);
      filled += document.length;
    }
  }
  return packedBatch(tokens, rows, length);
}
