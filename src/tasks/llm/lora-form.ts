/**
 * Which way of computing LoRA a model gets; both are the same mathematics.
 *
 * Merging builds a second copy of every expert each step, whether tokens reach it or not; the factored form passes rows,
 * and their gradients, through a thin product more each, and adds. From some 64 tokens per expert on the copy costs less,
 * with fewer up to 8 % more. Large models get the factored form whatever it takes, because of the memory: a layer of
 * OLMoE-1B-7B has 1.6 GB of experts. CPU time of one training step of the embedded model, merged ÷ factored, on ONNX
 * Runtime with one thread and huge pages (4 processes each, alternating; ± 0.02):
 *
 *   tokens per expert     16      32      64      256     512
 *   rank 8                1.08    1.07    0.99    0.89    0.91
 *   rank 32               –       1.00    0.96    0.92    –
 */
import type { LoraForm } from "../../model/adapted-experts.ts";
import type { ModelConfig } from "../../model/config.ts";

/** Bytes of one layer's experts, in float32, up to which a copy costs nothing that can be measured. */
const smallLayer = 2 * 2 ** 20;

export function loraFormFor({ experts, width, expertWidth }: ModelConfig): LoraForm {
  return 4 * 3 * experts * width * expertWidth > smallLayer ? "factored" : "merged";
}
