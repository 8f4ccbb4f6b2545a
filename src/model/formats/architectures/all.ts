/** The architectures that are read and written, and why others are not. */
import { InputError } from "../../../base/errors.ts";
import { show } from "../../../base/problem.ts";
import type { ModelConfig, RelativeType } from "../../config.ts";
import type { Architecture } from "./architecture.ts";
import { graniteMoe } from "./granite-moe.ts";
import { mixtral } from "./mixtral.ts";
import { olmoe } from "./olmoe.ts";
import { qwen2Moe, qwen3Moe } from "./qwen-moe.ts";

const relatives: Readonly<Record<RelativeType, Architecture>> = {
  granitemoe: graniteMoe,
  mixtral,
  qwen2_moe: qwen2Moe,
  qwen3_moe: qwen3Moe,
};

/** By `model_type`. */
const architectures: Readonly<Record<string, Architecture>> = { olmoe, ...relatives };

/** Why a model that looks similar is not the same mathematics. */
const refusals: Readonly<Record<string, string>> = {
  qwen3_next: "Qwen3-Next has linear-attention layers",
  flex_olmo: "FlexOlmo norms after attention and experts, where OLMoE norms before them",
  deepseek_v2: "DeepSeek has latent attention",
  deepseek_v3: "DeepSeek has latent attention",
  granitemoehybrid: "Granite 4 has Mamba layers",
  granitemoeshared: "Granite-MoE-Shared has a shared expert without a gate",
  dbrx: "DBRX has layer norms with a mean, and clips before it norms",
  phimoe: "Phi-MoE chooses experts by its own sampler, and has layer norms with biases",
  jamba: "Jamba has Mamba layers",
  glm4_moe: "GLM-4-MoE scores experts by sigmoids, and turns half of each head",
  gpt_oss: "GPT-OSS has attention sinks and a clamped, biased expert",
  olmo: "OLMo is dense: it has no experts to choose from",
  olmo2: "OLMo 2 is dense: it has no experts to choose from",
  olmo3: "OLMo 3 is dense: it has no experts to choose from",
  llama: "Llama is dense: it has no experts to choose from",
};

/** @throws InputError naming the architecture and, where it is known, what sets it apart */
export function readArchitecture(
  { model_type: type, architectures: classes }: Readonly<Record<string, unknown>>,
  where: string,
): { readonly modelType?: RelativeType; readonly architecture: Architecture } {
  const isOlmoe =
    type === "olmoe" || (type === undefined && Array.isArray(classes) && classes.includes(olmoe.className));
  if (isOlmoe) return { architecture: olmoe };
  const modelType = Object.keys(relatives).find((name): name is RelativeType => name === type);
  if (modelType !== undefined) return { modelType, architecture: relatives[modelType] };
  const reason = typeof type === "string" && Object.hasOwn(refusals, type) ? `: ${refusals[type]}` : "";
  const known = Object.keys(architectures).map((name) => `"${name}"`);
  const expected = `${known.slice(0, -1).join(", ")} or ${known.at(-1)}`;
  throw new InputError(`${where}: model_type is ${show(type)}, expected ${expected}${reason}`);
}

export const modelTypeOf = ({ modelType }: ModelConfig): string => modelType ?? "olmoe";

export const architectureOf = (config: ModelConfig): Architecture => architectures[modelTypeOf(config)]!;
