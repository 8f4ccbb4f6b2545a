/** What a scenario says of a mixture whose routers one router replaces: `task: { type: "pregating", … }`. */
import * as z from "zod";
import { routerSchema } from "../refactor/fields.ts";

export const pregatingSchema = z
  .strictObject({
    type: z.literal("pregating"),
    model: z
      .string()
      .min(1)
      .default("embedded")
      .describe("`embedded`, the base model that comes with the program, or a folder in Hugging Face OLMoE layout"),
    heads: z
      .enum(["shared", "perLayer"])
      .default("perLayer")
      .describe("whether all layers go by one answer, or each has a head of its own"),
    router: routerSchema,
  })
  .describe("one router in the place of those in all layers of a mixture");

export type PregatingFields = z.output<typeof pregatingSchema>;
