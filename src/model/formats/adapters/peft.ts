/**
 * Adapters as PEFT stores them: a folder with `adapter_config.json` and `adapter_model.safetensors`, one pair A, B per
 * expert and projection. PEFT loads it on transformers 4 and, converted on the way, on 5 (PEFT ≥ 0.19).
 *
 *   base_model.model.model.layers.{l}.mlp.experts.{e}.{gate,up,down}_proj.lora_{A,B}.weight
 *
 * and so in other architectures, by the names that these have: `block_sparse_moe.experts.{e}.{w1,w3,w2}` in Mixtral. Where PEFT does not know
 * experts one by one, see `peft-fused.ts`; where attention is adapted, `peft-attention.ts`.
 * "model" stands there twice because PEFT wraps a causal LM, which wraps the transformer. All experts of all layers are
 * written, also those never trained: PEFT refuses a layer with a gap. Both directions are exact in float32. Routers that
 * train are saved as whole modules; see `peft-routers.ts`.
 *
 * https://github.com/huggingface/peft; Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { makeFolder, onDisk, writeAtomically } from "../../../base/disk.ts";
import { InputError, invariant, ScenarioError } from "../../../base/errors.ts";
import { readJsonAs } from "../../../base/json.ts";
import { show, throwMistakes } from "../../../base/problem.ts";
import { type AdapterLayout, adapterLayout, type BlockName, type LoraConfig } from "../../adapter.ts";
import type { WeightSource } from "../../base-weights.ts";
import { type ModelConfig, sparseLayers } from "../../config.ts";
import { architectureOf } from "../architectures/all.ts";
import { checkTensors, type FlatTensor, namedTensors, readTensor } from "../flat-tensors.ts";
import { SafetensorsFile } from "../safetensors.ts";
import { writeSafetensors } from "../safetensors-writer.ts";
import { attentionModules, attentionTensors, targetsIn } from "./peft-attention.ts";
import { fusedProblems, fusedTargets, fusedTensors, fusedValues, readFused } from "./peft-fused.ts";
import { changedRouter, routerModule, routersFile, routersName, routerTensors } from "./peft-routers.ts";

/** What PEFT adapts by leaf names; gate and up go together, and without down PEFT 0.21 ignores both. */
const targetModules = (model: ModelConfig, lora: Pick<LoraConfig, "targets">): readonly string[] => {
  const { gate, up, down } = architectureOf(model).names.leaves!;
  return [gate, up, down, ...attentionModules(lora)];
};

const configName = "adapter_config.json";
const weightsName = "adapter_model.safetensors";

/** Every tensor of the file, and where it lies in the flat vector: the table of both directions. */
function* adapterTensors(layout: AdapterLayout): Generator<FlatTensor> {
  const { model, layers, experts, lora, blocks } = layout;
  const { rank } = lora;
  const names = architectureOf(model).names;
  const { gate, up, down } = names.leaves!;
  const numbers = sparseLayers(model);
  const block = (name: BlockName) => blocks.find((candidate) => candidate.name === name)!;
  const width = block("gateUpA").columns;
  const expertWidth = block("gateB").rows;
  const tensor = (prefix: string, name: string, shape: [number, number], from: BlockName, expert: number, skip = 0) => {
    const start = layout.matrix(from, expert).start + skip;
    return { name: `${prefix}.${name}.weight`, shape, start };
  };
  for (let layer = 0; layer < layers; layer++) {
    for (let local = 0; local < experts; local++) {
      const prefix = `base_model.model.model.layers.${numbers[layer]}.${names.block}.experts.${local}`;
      const expert = layer * experts + local;
      yield tensor(prefix, `${gate}.lora_A`, [rank, width], "gateUpA", expert);
      yield tensor(prefix, `${gate}.lora_B`, [expertWidth, rank], "gateB", expert);
      yield tensor(prefix, `${up}.lora_A`, [rank, width], "gateUpA", expert, rank * width);
      yield tensor(prefix, `${up}.lora_B`, [expertWidth, rank], "upB", expert);
      yield tensor(prefix, `${down}.lora_A`, [rank, expertWidth], "downA", expert);
      yield tensor(prefix, `${down}.lora_B`, [width, rank], "downB", expert);
    }
  }
}

export interface ExportOptions {
  /** Hub name or folder of the base model, for whoever loads the adapter. */
  readonly baseModelName: string;
  /** s, one per layer, that the adapter was trained with. Only 1 can be left behind. */
  readonly rescaler: ArrayLike<number>;
  /** The base model, where routers train: PEFT gets them whole. */
  readonly base?: Pick<WeightSource, "read">;
}

/**
 * Writes an adapter for PEFT, each file whole or not at all. The number of experts per token is not part of an adapter:
 * set `num_experts_per_tok` of the base model to the budget.
 *
 * @param adapter flat vector in `layout`
 * @throws ScenarioError if the rescaler is not 1 everywhere
 */
export function exportPeft(
  folder: string,
  layout: AdapterLayout,
  adapter: Float32Array,
  { baseModelName, rescaler, base }: ExportOptions,
): void {
  invariant(
    adapter.length === layout.size,
    () => `the adapter has ${adapter.length} elements, its layout ${layout.size}`,
  );
  invariant(rescaler.length === layout.layers, () => `${rescaler.length} rescalers for ${layout.layers} layers`);
  requirePlainRescaler(rescaler);
  const routers = routerTensors(layout);
  const whole = routers.map((router) => {
    invariant(base !== undefined, "routers train: exporting them takes the base model");
    return { name: router.module, shape: router.shape, values: changedRouter(base, router, adapter) };
  });
  onDisk(`cannot write ${folder}`, () => makeFolder(folder));
  const factors = architectureOf(layout.model).fusedAdapters
    ? [...fusedTensors(layout)].map((tensor) => fusedValues(tensor, adapter))
    : namedTensors(adapterTensors(layout), adapter);
  const attention = namedTensors(attentionTensors(layout), adapter);
  writeSafetensors(join(folder, weightsName), [...factors, ...attention, ...whole]);
  if (routers.length > 0) writeSafetensors(join(folder, routersName), namedTensors(routers, adapter));
  const text = `${JSON.stringify(adapterConfig(baseModelName, layout), null, 2)}\n`;
  writeAtomically(join(folder, configName), text);
}

/**
 * y = s · Σ_j w_j · E_j(x) scales base and LoRA alike, so no LoRA on top of the unscaled base equals it unless s = 1.
 * A merge carries it: `mergedWeights` multiplies the down projections.
 *
 * @throws ScenarioError naming the layers
 */
export function requirePlainRescaler(rescaler: ArrayLike<number>): void {
  const layers = Array.from(rescaler).flatMap((s, layer) =>
    s === 1 ? [] : [`${Number(s.toPrecision(6))} in layer ${layer}`],
  );
  if (layers.length === 0) return;
  const listed =
    layers.length > 4 ? `${layers.slice(0, 4).join(", ")} and ${layers.length - 4} more` : layers.join(", ");
  throw new ScenarioError(
    `the adapter was trained with a rescaler other than 1 (${listed}): it scales the base weights too, which a LoRA ` +
      "cannot carry. Merge adapter and rescaler into a full model instead (--merge)",
  );
}

/** The least that PEFT needs. `lora_dropout` other than 0 makes loading fail on transformers 5. */
const adapterConfig = (baseModelName: string, { model, lora, routers }: AdapterLayout) => ({
  peft_type: "LORA",
  task_type: "CAUSAL_LM",
  base_model_name_or_path: baseModelName,
  r: lora.rank,
  lora_alpha: lora.alpha,
  lora_dropout: 0,
  bias: "none",
  ...(architectureOf(model).fusedAdapters ? fusedTargets(lora) : { target_modules: targetModules(model, lora) }),
  fan_in_fan_out: false,
  init_lora_weights: true,
  modules_to_save: routers.length > 0 ? [routerModule(model)] : null,
  inference_mode: true,
});

export interface ImportedAdapter {
  readonly layout: AdapterLayout;
  /** Flat vector in `layout`. */
  readonly adapter: Float32Array;
  /** What the file says it belongs to. */
  readonly baseModelName: string | null;
}

/**
 * Reads an adapter that PEFT or {@link exportPeft} wrote for the experts of this model.
 *
 * @throws InputError naming the file and everything that is missing, unexpected, misshaped or beyond per-expert LoRA; or
 *   the first element that is not a finite number
 */
export function importPeft(folder: string, model: ModelConfig): ImportedAdapter {
  const { lora, routers, baseModelName } = readAdapterConfig(join(folder, configName), model);
  const path = join(folder, weightsName);
  if (!existsSync(path) && existsSync(join(folder, "adapter_model.bin"))) {
    throw new InputError(
      `${path}: missing, got adapter_model.bin: a pickle can run code, so convert it to safetensors`,
    );
  }
  const file = SafetensorsFile.open(path);
  try {
    const layout = adapterLayout(model, lora, { routers });
    const isFused = architectureOf(model).fusedAdapters;
    const factors = [...(isFused ? [] : adapterTensors(layout)), ...attentionTensors(layout)];
    const fused = [...(isFused ? fusedTensors(layout) : [])];
    const changes = routerTensors(layout);
    const whole = changes.map(({ module, shape }) => ({ name: module, shape }));
    checkTensors(file, [...factors, ...fused, ...whole]);
    const adapter = new Float32Array(layout.size);
    for (const tensor of factors) readTensor(file, tensor, adapter);
    for (const tensor of fused) readFused(file, tensor, adapter);
    if (routers) readRouters(folder, changes, adapter);
    return { layout, adapter, baseModelName };
  } finally {
    file.close();
  }
}

function readRouters(folder: string, changes: readonly FlatTensor[], adapter: Float32Array): void {
  const file = SafetensorsFile.open(routersFile(folder));
  try {
    checkTensors(file, changes);
    for (const tensor of changes) readTensor(file, tensor, adapter);
  } finally {
    file.close();
  }
}

const schema = z.looseObject({
  peft_type: z.literal("LORA"),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().min(1).max(65_536),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().nullish(),
  target_modules: z.union([z.array(z.string()), z.string()]).nullish(),
  target_parameters: z.array(z.string()).nullish(),
  modules_to_save: z.array(z.string()).nullish(),
});

/** Fields of PEFT 0.21 that leave what a trained adapter computes alone, whatever they say. */
const indifferent: ReadonlySet<string> = new Set([
  ...["task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "runtime_config"],
  ...["lora_dropout", "eva_config", "ensure_weight_tying"],
  // Each is a default that PEFT always writes, and says nothing while the field beside it is not set.
  ...["megatron_core", "qalora_group_size"],
]);

/** Ways to begin that leave the base weights as they are. The others take B·A off them, or put other weights there. */
const plainStarts: readonly unknown[] = [null, true, false, "gaussian", "eva", "orthogonal"];

function readAdapterConfig(
  path: string,
  model: ModelConfig,
): { lora: LoraConfig; routers: boolean; baseModelName: string | null } {
  const fields = readJsonAs(schema, path);
  const problems: string[] = [];
  checkKind(fields, model, problems);
  throwMistakes(path, problems);
  const { r: rank, lora_alpha, use_rslora, base_model_name_or_path, target_modules } = fields;
  // Rank-stabilised LoRA scales by alpha ÷ √rank; as alpha ÷ rank that is a larger alpha.
  const alpha = use_rslora ? lora_alpha * Math.sqrt(rank) : lora_alpha;
  const routers = (fields.modules_to_save ?? []).length > 0;
  const lora = { rank, alpha, ...targetsIn(target_modules) };
  return { lora, routers, baseModelName: base_model_name_or_path ?? null };
}

function checkKind(given: z.infer<typeof schema>, model: ModelConfig, problems: string[]): void {
  const fields = architectureOf(model).fusedAdapters
    ? checkFused(given, problems)
    : checkModules(given, model, problems);
  const { modules_to_save } = fields;
  if (modules_to_save?.some((name) => name !== routerModule(model))) {
    const expected = `expected none, or ${routerModule(model)}: but for routers the base stays frozen`;
    problems.push(`modules_to_save is ${JSON.stringify(modules_to_save)}, ${expected}`);
  }
  const { bias, init_lora_weights: start = null, ...others } = fields;
  if (bias != null && bias !== "none") problems.push(`bias is ${show(bias)}, expected "none"`);
  if (!plainStarts.includes(start)) {
    problems.push(
      `init_lora_weights is ${show(start)}: its base weights are other ones than the model's; save it as plain LoRA ` +
        "(in PEFT, save_pretrained with path_initial_model_for_weight_conversion)",
    );
  }
  for (const [name, value] of Object.entries(others)) {
    if (name in schema.shape || indifferent.has(name) || isUnset(value)) continue;
    problems.push(`${name} is ${show(value)}${remedies[name] ?? ", which is not known to leave plain LoRA as it is"}`);
  }
}

type Given = z.infer<typeof schema>;

/** @returns the fields that are not looked at here */
function checkModules(fields: Given, model: ModelConfig, problems: string[]): Given {
  const { target_modules: targets, target_parameters } = fields;
  const modules = targetModules(model, targetsIn(targets));
  if (target_parameters != null && target_parameters.length > 0) {
    problems.push(
      `target_parameters is ${JSON.stringify(target_parameters)}: that is PEFT's fused form, whose factors are not one ` +
        `A and B per projection; expected target_modules with ${modules.slice(0, 2).join(", ")} and ${modules[2]}`,
    );
  } else if (!Array.isArray(targets) || [...targets].sort().join() !== [...modules].sort().join()) {
    problems.push(
      `target_modules is ${JSON.stringify(targets)}, expected exactly ${modules.join(", ")}: LoRA is on experts, or on ` +
        "them and all of q_proj, k_proj, v_proj, o_proj",
    );
  }
  return fields;
}

function checkFused(
  { target_modules, target_parameters, rank_pattern, alpha_pattern, ...others }: Given,
  problems: string[],
): Given {
  const lora = { rank: others.r, alpha: others.lora_alpha, ...targetsIn(target_modules) };
  problems.push(...fusedProblems({ target_modules, target_parameters, rank_pattern, alpha_pattern }, lora));
  return others;
}

const remedies: Readonly<Record<string, string>> = {
  use_dora: ": DoRA has magnitudes that LoRA has not",
  fan_in_fan_out: ", expected false: models store weights as [out, in]",
  rank_pattern: ", expected one rank for all experts",
  alpha_pattern: ", expected one alpha for all experts",
  layers_to_transform: ", expected LoRA on the experts of all layers",
};

/** What PEFT writes for a field that is not used. */
const isUnset = (value: unknown): boolean =>
  value === null || value === false || (typeof value === "object" && Object.keys(value as object).length === 0);
