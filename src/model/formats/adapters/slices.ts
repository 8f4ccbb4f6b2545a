/**
 * LoRA of whose ranks a router chooses, in a folder of its own kind: PEFT has no such adapter.
 *
 *   ranks_config.json         rank, alpha, how many ranks are routed, and for which base model
 *   ranks_model.safetensors   layers.{l}.{gateUpA,gateB,upB,downA,downB}, layers.{l}.router
 *
 * Blocks lie as `model/adapter.ts` says. Exact in float32 both ways.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { makeFolder, onDisk, writeAtomically } from "../../../base/disk.ts";
import { InputError } from "../../../base/errors.ts";
import { fieldDifferences } from "../../../base/field-differences.ts";
import { readJsonAs } from "../../../base/json.ts";
import { show } from "../../../base/problem.ts";
import { type AdapterLayout, adapterLayout } from "../../adapter.ts";
import type { ModelConfig } from "../../config.ts";
import { type FlatTensor, namedTensors, readFlatTensors } from "../flat-tensors.ts";
import { writeSafetensors } from "../safetensors-writer.ts";
import { type ExportOptions, requirePlainRescaler } from "./peft.ts";

const configName = "ranks_config.json";
const weightsName = "ranks_model.safetensors";
const kind = "ranks of which a router chooses";

const whole = z
  .int()
  .min(1)
  .max(2 ** 16);
const schema = z.strictObject({
  kind: z.literal(kind),
  base_model_name_or_path: z.string(),
  model: z.strictObject({ layers: whole, experts: whole, width: whole, expertWidth: whole }),
  rank: whole,
  alpha: z.number().positive(),
  slices: z.strictObject({ routed: whole, zero: z.int().min(0).max(256), topK: whole }),
});

function shapeOf({ layers, experts, blocks }: AdapterLayout): z.output<typeof schema>["model"] {
  const columns = (of: string) => blocks.find(({ name }) => name === of)!.columns;
  return { layers, experts, width: columns("gateUpA"), expertWidth: columns("downA") };
}

function* tensorsOf({ layers, experts, blocks, matrix, rankRouters }: AdapterLayout): Generator<FlatTensor> {
  for (let layer = 0; layer < layers; layer++) {
    for (const { name, rows, columns } of blocks) {
      const { start } = matrix(name, layer * experts);
      yield { name: `layers.${layer}.${name}`, shape: [experts, rows, columns], start };
    }
    const { start, end } = rankRouters[layer]!;
    yield { name: `layers.${layer}.router`, shape: [(end - start) / 2, 2], start };
  }
}

export const isSlicesFolder = (folder: string): boolean => existsSync(join(folder, configName));

/** @throws ScenarioError if the rescaler is not 1 everywhere */
export function exportSlices(
  folder: string,
  layout: AdapterLayout,
  parameters: Float32Array,
  { baseModelName, rescaler }: Pick<ExportOptions, "baseModelName" | "rescaler">,
): void {
  requirePlainRescaler(rescaler);
  onDisk(`cannot write ${folder}`, () => makeFolder(folder));
  writeSafetensors(join(folder, weightsName), namedTensors(tensorsOf(layout), parameters));
  const { rank, alpha, slices } = layout.lora;
  const config: z.output<typeof schema> = {
    kind,
    base_model_name_or_path: baseModelName,
    model: shapeOf(layout),
    rank,
    alpha,
    slices: slices!,
  };
  writeAtomically(join(folder, configName), `${JSON.stringify(config, null, 2)}\n`);
}

/** @throws InputError naming the file and what is wrong with it */
export function importSlices(
  folder: string,
  config: ModelConfig,
): { readonly layout: AdapterLayout; readonly parameters: Float32Array } {
  const path = join(folder, configName);
  const { model, rank, alpha, slices } = readJsonAs(schema, path);
  if (slices.routed > rank) throw new InputError(`${path}: slices.routed is ${slices.routed}, but rank is ${rank}`);
  const layout = adapterLayout(config, { rank, alpha, slices });
  const [other] = fieldDifferences(model, shapeOf(layout));
  if (other !== undefined)
    throw new InputError(`${path}: model.${other.path} is ${show(other.a)}, but the model has ${show(other.b)}`);
  return { layout, parameters: readFlatTensors(join(folder, weightsName), tensorsOf(layout), layout.size) };
}
