/** What a scenario says of the language model it trains. */
import * as z from "zod";
import { count, positive } from "../../base/fields.ts";
import { loraTargets } from "../../model/adapter.ts";
import { baseForms } from "../../model/base-weights.ts";

const size = count.max(2 ** 20);

/** Layers times experts: every one is a group of its own in each average. */
const mostExperts = 2 ** 16;

/** A model of which only the size matters: runs without training need no weights. Bounds are those of a model's folder. */
const modelShape = z
  .strictObject({
    vocabulary: count.max(2 ** 24).describe("tokens there are"),
    layers: count.max(512).describe("transformer layers"),
    width: size.describe("of a token's vector"),
    heads: size.describe("heads of attention"),
    experts: count.max(1_024).describe("experts of a layer"),
    expertWidth: size.describe("hidden width of an expert"),
    topK: count.max(1_024).describe("K, experts per token at the full budget"),
  })
  .refine(
    ({ layers, experts }) => layers * experts <= mostExperts,
    `at most ${mostExperts} experts in all layers together`,
  );

const slices = z.strictObject({
  routed: count.max(256).describe("n, ranks of which the router chooses; the other ones are always on"),
  zero: z.int().min(0).max(256).default(1).describe("n_0, candidates that hold nothing"),
  topK: count.max(512).default(2).describe("k, candidates that a prompt is given"),
});

/** The fields `model` and `lora` of a scenario. */
export const llmFields = {
  model: z
    .union([z.string().min(1), modelShape])
    .default("embedded")
    .describe(
      "`embedded`, a Hugging Face model folder, of OLMoE or a relative, or only a shape, for runs without training",
    ),
  base: z
    .enum(baseForms)
    .exactOptional()
    .describe(
      "how its weights are stored and mapped: `f32`, `half`, `int8` or `int4`; that of its folder, or `f32`, unless given",
    ),
  lora: z
    .strictObject({
      rank: count
        .max(2 ** 16)
        .default(8)
        .describe("inner size of the pairs A and B"),
      alpha: positive.default(16).describe("ΔW = (alpha ÷ rank) · B·A"),
      targets: z
        .enum(loraTargets)
        .exactOptional()
        .describe("what the pairs lie on: experts alone unless given, or q, k, v and o of attention, too"),
      slices: slices
        .exactOptional()
        .describe("ranks of which a router chooses by how degraded a prompt is; unless given, all are always on"),
    })
    .refine(({ slices, targets }) => slices === undefined || targets !== "experts-and-attention", {
      path: ["targets"],
      message: "experts with lora.slices, whose router chooses ranks of experts alone",
    })
    .refine(({ rank, slices }) => slices === undefined || slices.routed <= rank, {
      path: ["slices", "routed"],
      message: "no more than lora.rank, of which the rest are always on",
    })
    .refine(({ slices }) => slices === undefined || slices.topK <= slices.routed + slices.zero, {
      path: ["slices", "topK"],
      message: "no more than there are candidates, routed ranks and zero slots",
    })
    .prefault({})
    .describe("the adapter, which is what trains"),
};

export type LlmFields = z.output<z.ZodObject<typeof llmFields>>;
