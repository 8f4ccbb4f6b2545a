/** What a scenario says of the task `restore`. */
import { z } from "zod";
import { usualLevels } from "./data.ts";

const ranks = (usual: number) => z.int().min(0).max(256).default(usual);
const between = (most: number) =>
  z
    .tuple([z.number().min(0).max(most), z.number().min(0).max(most)])
    .refine(([least, largest]) => least <= largest, "the smaller number first");

export const restoreFields = z
  .strictObject({
    type: z.literal("restore"),
    /** m_s, ranks of each product that are always on; and n, those of which a router chooses. */
    shared: ranks(2),
    routed: ranks(8),
    /** n_0, candidates that hold nothing. */
    zero: ranks(1),
    /** k, candidates that a picture is given at the full budget. */
    topK: z.int().min(1).max(256).default(2),
    /** What changes are multiplied by, the same for all ranks. */
    scale: z.number().positive().max(64).default(1),
    /** How pictures are degraded, by level: standard deviations lie anywhere between two. A level is a category of data. */
    levels: z
      .record(z.string().min(1).max(64), z.strictObject({ blur: between(8), noise: between(1) }))
      .refine((levels) => Object.keys(levels).length > 0, "a level at least")
      .default(() => usualLevels),
  })
  .refine(({ shared, routed }) => shared + routed > 0, { path: ["shared"], message: "ranks at least in one place" })
  .refine(({ routed, zero, topK }) => topK <= Math.max(1, routed + zero), {
    path: ["topK"],
    message: "no more than there are candidates, routed ranks and zero slots",
  });

export type RestoreFields = z.output<typeof restoreFields>;
