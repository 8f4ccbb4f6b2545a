/**
 * Which way of computing LoRA a model gets; both are the same mathematics.
 *
 * Merging builds a second copy of every expert each step, whether tokens reach it or not, and its backward pass forms
 * gradients of whole matrices; the factored form makes more and thinner products, in proportion to the tokens. Time of
 * one training step, merged ÷ factored, on ONNX Runtime with one thread, rank 8, over budgets of 1 to 8 of 16 experts:
 *
 *   experts of one layer    0.4 MB    1.6 MB    3.5 MB    6.3 MB    14 MB    25 MB
 *   merged ÷ factored       0.9–1.0   1.0–1.1   1.1       1.1–1.4   1.3      1.3–1.5
 *
 * So time decides little for small models, and memory everything for large ones: a layer of OLMoE-1B-7B has 1.6 GB of
 * experts.
 */
import type { ModelConfig } from "../model/config.ts";
import type { LoraForm } from "../model/transformer.ts";

/** Bytes of one layer's experts, in float32, up to which a copy costs nothing that can be measured. */
const smallLayer = 2 * 2 ** 20;

export function loraFormFor({ experts, width, expertWidth }: ModelConfig): LoraForm {
  return 4 * 3 * experts * width * expertWidth <= smallLayer ? "merged" : "factored";
}
