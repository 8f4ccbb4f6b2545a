/**
 * Small experts beside the mixture, in a folder of their own kind: PEFT has no such adapter.
 *
 *   pools_config.json         how many experts of which width, how a token chooses, for which base model
 *   pools_model.safetensors   layers.{l}.pool.experts.{m}.{up,down}.{weight,bias}, layers.{l}.pool.router.weight
 *
 * Matrices lie as PyTorch's `nn.Linear` has them, [out, in], and what they compute stands in `model/beside.ts`. Exact in
 * float32 both ways.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { makeFolder, onDisk, writeAtomically } from "../../../base/disk.ts";
import { InputError, invariant } from "../../../base/errors.ts";
import { readJsonAs } from "../../../base/json.ts";
import { type BesideLayout, besideLayout } from "../../beside.ts";
import type { ModelConfig } from "../../config.ts";
import { type FlatTensor, namedTensors, readFlatTensors } from "../flat-tensors.ts";
import { writeSafetensors } from "../safetensors-writer.ts";
import { type ExportOptions, requirePlainRescaler } from "./peft.ts";

const configName = "pools_config.json";
const weightsName = "pools_model.safetensors";
const kind = "small experts beside the mixture";

const schema = z.strictObject({
  kind: z.literal(kind),
  base_model_name_or_path: z.string(),
  layers: z.int().min(1),
  width: z.int().min(1),
  experts: z.int().min(1).max(256),
  hidden: z.int().min(1).max(4_096),
  activation: z.literal("silu"),
});

function* poolTensors(layout: BesideLayout): Generator<FlatTensor> {
  const { layers, beside, blocks, range } = layout;
  const { experts, width: hidden } = beside;
  const { columns: width } = blocks[0]!;
  for (let layer = 0; layer < layers; layer++) {
    const pool = `layers.${layer}.pool`;
    for (let local = 0; local < experts; local++) {
      const expert = layer * experts + local;
      const at = (block: Parameters<typeof range>[0]) => range(block, expert).start;
      const name = `${pool}.experts.${local}`;
      yield { name: `${name}.up.weight`, shape: [hidden, width], start: at("up") };
      yield { name: `${name}.up.bias`, shape: [hidden], start: at("upBias") };
      yield { name: `${name}.down.weight`, shape: [width, hidden], start: at("down"), transposed: true };
      yield { name: `${name}.down.bias`, shape: [width], start: at("downBias") };
    }
    yield { name: `${pool}.router.weight`, shape: [experts, width], start: range("router", layer * experts).start };
  }
}

export const isPoolsFolder = (folder: string): boolean => existsSync(join(folder, configName));

/**
 * Each file whole or not at all.
 *
 * @param parameters flat vector in `layout`
 * @throws ScenarioError if the rescaler is not 1 everywhere
 */
export function exportPools(
  folder: string,
  layout: BesideLayout,
  parameters: Float32Array,
  { baseModelName, rescaler }: ExportOptions,
): void {
  requirePlainRescaler(rescaler);
  invariant(
    parameters.length === layout.size,
    () => `the pools have ${parameters.length} elements, their layout ${layout.size}`,
  );
  onDisk(`cannot write ${folder}`, () => makeFolder(folder));
  writeSafetensors(join(folder, weightsName), namedTensors(poolTensors(layout), parameters));
  const config: z.output<typeof schema> = {
    kind,
    base_model_name_or_path: baseModelName,
    layers: layout.layers,
    width: layout.blocks[0]!.columns,
    experts: layout.beside.experts,
    hidden: layout.beside.width,
    activation: "silu",
  };
  writeAtomically(join(folder, configName), `${JSON.stringify(config, null, 2)}\n`);
}

/** @throws InputError naming the file and what is wrong with it */
export function importPools(folder: string, model: ModelConfig): { layout: BesideLayout; parameters: Float32Array } {
  const path = join(folder, configName);
  const { layers, width, experts, hidden } = readJsonAs(schema, path);
  if (layers !== model.layers || width !== model.width) {
    throw new InputError(
      `${path} is for ${layers} layers of width ${width}, but the model has ${model.layers} of width ${model.width}`,
    );
  }
  const layout = besideLayout(model, { experts, width: hidden });
  return { layout, parameters: readFlatTensors(join(folder, weightsName), poolTensors(layout), layout.size) };
}
