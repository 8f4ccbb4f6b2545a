/** What a scenario says of the two-view task. */
import * as z from "zod";
import { count } from "../../base/fields.ts";
import { viewsSchema } from "./views.ts";

export const twoViewFields = z
  .strictObject({
    type: z.literal("two-view"),
    views: viewsSchema.prefault({ type: "coloured" }).describe("how two views are made of a picture"),
    hidden: count.default(32).describe("width of the encoders' hidden layer"),
    features: count.default(16).describe("width of what they give"),
  })
  .describe("pictures in two views, of which clients may have one alone");

export type TwoViewFields = z.output<typeof twoViewFields>;
