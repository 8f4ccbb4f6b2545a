/**
 * Routers that train beside an adapter for PEFT. PEFT knows no change of them, only whole modules that are saved with the
 * adapter (`modules_to_save`): it gets those, base and change together. The change itself, exact in float32, lies in a file
 * beside them, from which it is read back.
 *
 *   adapter_model.safetensors   base_model.model.model.layers.{l}.mlp.gate.weight   [experts, width]
 *   routers.safetensors         layers.{l}.router                                   [experts, width]
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "../../../base/errors.ts";
import type { AdapterLayout } from "../../adapter.ts";
import type { WeightSource } from "../../base-weights.ts";
import { type ModelConfig, sparseLayers } from "../../config.ts";
import { architectureOf } from "../architectures/all.ts";

/** How modules are called that PEFT saves whole: all whose names end so. */
export const routerModule = (model: ModelConfig): string =>
  model.modelType === undefined ? "gate" : architectureOf(model).names.routerModule;

export const routersName = "routers.safetensors";

interface RouterTensor {
  /** As PEFT names the whole, and as the change is named beside it. */
  readonly module: string;
  readonly name: string;
  readonly shape: readonly [experts: number, width: number];
  /** Where the change lies in the flat vector. */
  readonly start: number;
  readonly size: number;
}

export const routerTensors = ({ model, routers, experts }: AdapterLayout): readonly RouterTensor[] =>
  routers.map(({ start, end }, place) => ({
    module: `base_model.model.model.layers.${sparseLayers(model)[place]}.${architectureOf(model).names.routerModule}.weight`,
    name: `layers.${sparseLayers(model)[place]}.router`,
    shape: [experts, (end - start) / experts],
    start,
    size: end - start,
  }));

/** The router of a layer with its change, as Hugging Face stores it. */
export function changedRouter(
  base: Pick<WeightSource, "read">,
  { name, shape: [experts, width], start, size }: RouterTensor,
  adapter: Float32Array,
): Float32Array {
  const values = new Float32Array(size);
  base.read(name, values);
  // In the executor's layout a router is [width, experts].
  return Float32Array.from(values, (_, i) => {
    const [expert, column] = [Math.floor(i / width), i % width];
    return values[column * experts + expert]! + adapter[start + i]!;
  });
}

/** @throws InputError where the routers are there whole, but nothing says what changed them */
export function routersFile(folder: string): string {
  const path = join(folder, routersName);
  if (existsSync(path)) return path;
  throw new InputError(
    `${path} is missing: the adapter saves routers whole (modules_to_save), and this file says how they were changed`,
  );
}
