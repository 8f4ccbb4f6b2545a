/** What a scenario says of the network it trains on images. */
import * as z from "zod";
import { count } from "../../base/fields.ts";

/** More make no task of clients. */
const widths = z.array(count.max(4_096)).min(1).max(16);

/** The field `task` of a scenario. */
export const visionFields = z
  .strictObject({
    type: z.literal("vision"),
    network: z
      .discriminatedUnion("type", [
        z
          .strictObject({
            type: z.literal("mlp"),
            hidden: widths.default([256, 256]).describe("width of each hidden layer"),
          })
          .describe("layers on all pixels"),
        z
          .strictObject({
            type: z.literal("cnn"),
            channels: widths.default([16, 32, 64]).describe("channels of each convolution"),
          })
          .describe("convolutions"),
      ])
      .prefault({ type: "mlp" })
      .describe("what is trained: layers on all pixels, or convolutions"),
  })
  .describe("images, of which a small network says the class");

export type VisionFields = z.output<typeof visionFields>;
