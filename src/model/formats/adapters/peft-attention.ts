/**
 * Attention in adapters for PEFT: pairs on four modules, called the same in all architectures that are read.
 *
 *   base_model.model.model.layers.{l}.self_attn.{q,k,v,o}_proj.lora_{A,B}.weight
 */
import type { AdapterLayout, LoraConfig } from "../../adapter.ts";
import type { FlatTensor } from "../flat-tensors.ts";

const modules: readonly string[] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/** What `target_modules` has for attention. */
export const attentionModules = ({ targets }: Pick<LoraConfig, "targets">): readonly string[] =>
  targets === "experts-and-attention" ? modules : [];

/** By `target_modules`, whatever else is there. */
export const targetsIn = (targetModules: unknown): Pick<LoraConfig, "targets"> =>
  Array.isArray(targetModules) && modules.every((name) => targetModules.includes(name))
    ? { targets: "experts-and-attention" }
    : {};

export function* attentionTensors({ attention, lora: { rank } }: AdapterLayout): Generator<FlatTensor> {
  for (const [layer, { pairs }] of attention.entries()) {
    for (const { projection, inputs, outputs, a, b } of pairs) {
      const prefix = `base_model.model.model.layers.${layer}.self_attn.${projection}_proj`;
      yield { name: `${prefix}.lora_A.weight`, shape: [rank, inputs], start: a };
      yield { name: `${prefix}.lora_B.weight`, shape: [outputs, rank], start: b };
    }
  }
}
