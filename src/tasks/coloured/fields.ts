/** What a scenario says of coloured images. */
import { z } from "zod";
import { count, probability } from "../../base/fields.ts";

const width = count.max(4_096);

/** The field `task` of a scenario. */
export const colouredFields = z.strictObject({
  type: z.literal("coloured"),
  /** Of each: how often the colour contradicts the label, and its share of the examples that train. */
  environments: z
    .array(z.strictObject({ flip: probability, share: z.number().positive().default(1) }))
    .min(1)
    .max(1_000)
    .default([
      { flip: 0.1, share: 1 },
      { flip: 0.2, share: 1 },
    ]),
  /** How often colours contradict labels in what is evaluated, and what share of all examples that is. */
  reversed: probability.default(0.9),
  heldOut: z.number().gt(0).lt(1).default(0.2),
  /** How often a label is wrong. */
  noise: probability.default(0.25),
  /** Widths of the layers that all heads stand on; none for heads that see the image itself. */
  representation: z.array(width).max(16).default([32]),
  /** Of a head's own layer; 0 for a linear head. */
  hidden: z.int().min(0).max(4_096).default(0),
  /** One for each client; as many as environments unless given. */
  heads: count.max(1_000).exactOptional(),
});

export type ColouredFields = z.output<typeof colouredFields>;
