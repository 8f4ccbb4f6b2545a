/** What a scenario says of coloured images. */
import * as z from "zod";
import { count, probability } from "../../base/fields.ts";

const width = count.max(4_096);

/** The field `task` of a scenario. */
export const colouredFields = z
  .strictObject({
    type: z.literal("coloured"),
    environments: z
      .array(
        z.strictObject({
          flip: probability.describe("how often the colour contradicts the label"),
          share: z
            .number()
            .positive()
            .default(1)
            .describe("of the examples that train, relative to other environments"),
        }),
      )
      .min(1)
      .max(1_000)
      .default([
        { flip: 0.1, share: 1 },
        { flip: 0.2, share: 1 },
      ])
      .describe("what the categories are, by which clients differ"),
    reversed: probability.default(0.9).describe("how often colours contradict labels in what is evaluated"),
    heldOut: z.number().gt(0).lt(1).default(0.2).describe("share of all examples that is evaluated"),
    noise: probability.default(0.25).describe("how often a label is wrong"),
    representation: z
      .array(width)
      .max(16)
      .default([32])
      .describe("widths of the layers that all heads stand on; none for heads that see the image itself"),
    hidden: z.int().min(0).max(4_096).default(0).describe("width of a head's own layer; 0 for a linear head"),
    heads: count
      .max(1_000)
      .exactOptional()
      .describe("heads of the ensemble, one for each client; as many as environments unless given"),
  })
  .describe("digits in colours that agree with the label here and contradict it there");

export type ColouredFields = z.output<typeof colouredFields>;
