/** What a scenario says of the language model it trains. */
import { z } from "zod";
import { count, positive } from "../../base/fields.ts";

/** A model of which only the size matters: runs without training need no weights. */
const modelShape = z.strictObject({
  vocabulary: count,
  layers: count,
  width: count,
  heads: count,
  experts: count,
  expertWidth: count,
  topK: count,
});

/** The fields `model` and `lora` of a scenario. */
export const llmFields = {
  /** `embedded`, or a folder in Hugging Face OLMoE layout. */
  model: z.union([z.string().min(1), modelShape]).default("embedded"),
  lora: z.strictObject({ rank: count.default(8), alpha: positive.default(16) }).prefault({}),
};

export type LlmFields = z.output<z.ZodObject<typeof llmFields>>;
