/** What a scenario says of the task `restore`. */
import * as z from "zod";
import { usualLevels } from "./data.ts";

const ranks = (usual: number) => z.int().min(0).max(256).default(usual);
const between = (most: number) =>
  z
    .tuple([z.number().min(0).max(most), z.number().min(0).max(most)])
    .refine(([least, largest]) => least <= largest, "the smaller number first");

export const restoreFields = z
  .strictObject({
    type: z.literal("restore"),
    shared: ranks(2).describe("m_s, ranks of each product that are always on"),
    routed: ranks(8).describe("n, ranks of which a router chooses"),
    zero: ranks(1).describe("n_0, candidates that hold nothing"),
    topK: z.int().min(1).max(256).default(2).describe("k, candidates that a picture is given at the full budget"),
    scale: z.number().positive().max(64).default(1).describe("what changes are multiplied by, the same for all ranks"),
    levels: z
      .record(
        z.string().min(1).max(64),
        z.strictObject({
          blur: between(8).describe("least and largest standard deviation of a blur, in pixels"),
          noise: between(1).describe("least and largest of normal noise, where white is 1"),
        }),
      )
      .refine((levels) => Object.keys(levels).length > 0, "a level at least")
      .default(() => usualLevels)
      .describe("how pictures are degraded, by level; a level is a category of data"),
  })
  .describe("degraded pictures, made whole by ranks that a router chooses")
  .refine(({ shared, routed }) => shared + routed > 0, { path: ["shared"], message: "ranks at least in one place" })
  .refine(({ routed, zero, topK }) => topK <= Math.max(1, routed + zero), {
    path: ["topK"],
    message: "no more than there are candidates, routed ranks and zero slots",
  });

export type RestoreFields = z.output<typeof restoreFields>;
