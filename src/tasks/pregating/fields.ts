/** What a scenario says of a mixture whose routers one router replaces: `task: { type: "pregating", … }`. */
import { z } from "zod";
import { count } from "../../base/fields.ts";

export const pregatingSchema = z.strictObject({
  type: z.literal("pregating"),
  /** `embedded`, the base model that comes with the program, or a folder in Hugging Face OLMoE layout. */
  model: z.string().min(1).default("embedded"),
  /** Whether all layers go by one answer, or each has a head of its own. */
  heads: z.enum(["shared", "perLayer"]).default("perLayer"),
  /** Of the router ahead of all layers. */
  router: z
    .strictObject({ blocks: count.max(16).default(1), heads: count.default(4), hidden: count.default(96) })
    .prefault({}),
});

export type PregatingFields = z.output<typeof pregatingSchema>;
