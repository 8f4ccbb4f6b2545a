/** What a scenario says of a dense model that is cut into experts: `task: { type: "refactor", … }`. */
import * as z from "zod";
import { count } from "../../base/fields.ts";

/** The router ahead of all layers. */
export const routerSchema = z
  .strictObject({
    blocks: count.max(16).default(1).describe("transformer blocks"),
    heads: count.default(4).describe("heads of attention of each"),
    hidden: count.default(96).describe("hidden units of each block's MLP"),
  })
  .prefault({})
  .describe("the router ahead of all layers, which trains");

export const refactorSchema = z
  .strictObject({
    type: z.literal("refactor"),
    model: z
      .string()
      .min(1)
      .default("dense")
      .describe(
        "`dense`, which comes with the program, or a folder in Hugging Face OLMoE layout, with one expert a layer",
      ),
    experts: count.max(256).default(4).describe("E, experts that a layer is cut into"),
    active: count.default(1).describe("k, experts of a token"),
    share: z.number().gt(0).max(1).default(0.5).describe("ρ, the share of channels that an expert keeps"),
    combine: z
      .enum(["union", "sum"])
      .default("sum")
      .describe("how the chosen experts add up. With one expert a token there is nothing to add up"),
    router: routerSchema,
  })
  .describe("a dense model cut into experts, and the router ahead of them");

export type RefactorFields = z.output<typeof refactorSchema>;
