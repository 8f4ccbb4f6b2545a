/** What a scenario says of the two-view task. */
import { z } from "zod";
import { count } from "../../base/fields.ts";
import { viewsSchema } from "./views.ts";

export const twoViewFields = z.strictObject({
  type: z.literal("two-view"),
  /** How two views are made of a picture. */
  views: viewsSchema.prefault({ type: "coloured" }),
  /** Width of the encoders' hidden layer, and of what they give. */
  hidden: count.default(32),
  features: count.default(16),
});

export type TwoViewFields = z.output<typeof twoViewFields>;
