/** What a scenario says of the language model it trains. */
import { z } from "zod";
import { count, positive } from "../../base/fields.ts";
import { baseForms } from "../../model/base-weights.ts";

const size = count.max(2 ** 20);

/** Layers times experts: every one is a group of its own in each average. */
const mostExperts = 2 ** 16;

/** A model of which only the size matters: runs without training need no weights. Bounds are those of a model's folder. */
const modelShape = z
  .strictObject({
    vocabulary: count.max(2 ** 24),
    layers: count.max(512),
    width: size,
    heads: size,
    experts: count.max(1_024),
    expertWidth: size,
    topK: count.max(1_024),
  })
  .refine(
    ({ layers, experts }) => layers * experts <= mostExperts,
    `at most ${mostExperts} experts in all layers together`,
  );

/** Ranks of which a router chooses, by how degraded a prompt is: n of them and n_0 slots that hold nothing; k of both. */
const slices = z.strictObject({
  routed: count.max(256),
  zero: z.int().min(0).max(256).default(1),
  topK: count.max(512).default(2),
});

/** The fields `model` and `lora` of a scenario. */
export const llmFields = {
  /** `embedded`, or a Hugging Face model folder, of OLMoE or a relative. */
  model: z.union([z.string().min(1), modelShape]).default("embedded"),
  /** How its weights are stored and mapped: `f32`, `half`, `int8` or `int4`; that of its folder, or `f32`, unless given. */
  base: z.enum(baseForms).exactOptional(),
  lora: z
    .strictObject({
      rank: count.max(2 ** 16).default(8),
      alpha: positive.default(16),
      slices: slices.exactOptional(),
    })
    .refine(({ rank, slices }) => slices === undefined || slices.routed <= rank, {
      path: ["slices", "routed"],
      message: "no more than lora.rank, of which the rest are always on",
    })
    .refine(({ slices }) => slices === undefined || slices.topK <= slices.routed + slices.zero, {
      path: ["slices", "topK"],
      message: "no more than there are candidates, routed ranks and zero slots",
    })
    .prefault({}),
};

export type LlmFields = z.output<z.ZodObject<typeof llmFields>>;
