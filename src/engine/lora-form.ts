/**
 * Which way of computing LoRA a step gets; both are the same mathematics.
 *
 * Merging builds a second copy of every expert each step, whether tokens reach it or not, and its backward pass forms
 * gradients of whole matrices; the factored form makes more and thinner products, in proportion to tokens and rank. So
 * the factored form is for low ranks and few tokens per expert, and for large models whatever it takes, because of the
 * memory: a layer of OLMoE-1B-7B has 1.6 GB of experts. CPU time of one training step of the embedded model, factored ÷
 * merged, on ONNX Runtime with one thread:
 *
 *   tokens per expert     32      48      64      256     384
 *   rank 8                0.88    –       0.91    0.97    0.96
 *   rank 32               –       1.06    –       –       1.18
 */
import type { LoraConfig } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import type { StepShape } from "../model/programs.ts";
import type { LoraForm } from "../model/transformer.ts";

/** Bytes of one layer's experts, in float32, up to which a copy costs nothing that can be measured. */
const smallLayer = 2 * 2 ** 20;

/** Multiplications a CPU does in the time in which merging handles one weight: making the product, adding, cutting. */
const perMergedWeight = 170;
/** Thin products run at about this share of the rate of large ones. */
const thinRate = 0.5;

export function loraFormFor(model: ModelConfig, { rank }: LoraConfig, { rows, length, topK }: StepShape): LoraForm {
  const { experts, width: d, expertWidth: f } = model;
  if (4 * 3 * experts * d * f > smallLayer) return "factored";
  const tokens = (rows * length * topK) / experts;
  // Multiplications of one expert beyond those of its frozen weights.
  const merged = 3 * d * f * (tokens + perMergedWeight);
  const factored = (3 * tokens * rank * (3 * d + 5 * f)) / thinRate;
  return merged < factored ? "merged" : "factored";
}
