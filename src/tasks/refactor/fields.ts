/** What a scenario says of a dense model that is cut into experts: `task: { type: "refactor", … }`. */
import { z } from "zod";
import { count } from "../../base/fields.ts";

export const refactorSchema = z.strictObject({
  type: z.literal("refactor"),
  /** `dense`, which comes with the program, or a folder in Hugging Face OLMoE layout, with one expert a layer. */
  model: z.string().min(1).default("dense"),
  /** E */
  experts: count.max(256).default(4),
  /** k, experts of a token. */
  active: count.default(1),
  /** ρ, the share of channels that an expert keeps. */
  share: z.number().gt(0).max(1).default(0.5),
  /** How the chosen experts add up; `sum` unless given. With one expert a token there is nothing to add up. */
  combine: z.enum(["union", "sum"]).default("sum"),
  /** Of the router ahead of all layers. */
  router: z
    .strictObject({ blocks: count.max(16).default(1), heads: count.default(4), hidden: count.default(96) })
    .prefault({}),
});

export type RefactorFields = z.output<typeof refactorSchema>;
