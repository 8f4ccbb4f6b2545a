/**
 * What the dense base model reads: generated instructions of all families in the prompt format, as many as it wants.
 * A fifth of all questions, by the hash that splits go by, never occurs: these can be held out.
 */
import type { Rng } from "../base/random.ts";
import type { Batch } from "../data/batches.ts";
import { questionHash } from "../data/example.ts";
import { FAMILIES } from "../data/families.ts";
import { pick } from "../data/text.ts";
import { type CorpusBatchOptions, filledBatch, inPrompt } from "./corpus.ts";

/** Questions whose hash is smaller are never read; a scenario that holds out no larger share asks what is new. */
const unread = 0.2;

/** The batch of pre-training step `step ≥ 1`, as `corpusBatch` gives it. */
export const instructionBatch = (rng: Rng, step: number, options: CorpusBatchOptions): Batch =>
  filledBatch(rng, step, options, (draws, prompt) => {
    for (;;) {
      const { instruction, input, response } = pick(FAMILIES, draws).draw(draws);
      if (questionHash({ instruction, input }) < unread === (options.part === "heldOut"))
        return inPrompt(prompt(instruction, input), options.tokenizer.encode(response));
    }
  });
