/**
 * What a run trained, as a folder: an adapter as PEFT stores it, or pools of small experts or ranks that a router chooses, which
 * PEFT does not know. An ensemble has a folder of that kind for each member: `member-0`, `member-1`, …
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "../../../base/errors.ts";
import { type AdapterLayout, type AdapterShape, adapterLayout, type LoraConfig } from "../../adapter.ts";
import type { ModelConfig } from "../../config.ts";
import { type ExportOptions, exportPeft, importPeft } from "./peft.ts";
import { exportPools, importPools, isPoolsFolder } from "./pools.ts";
import { exportSlices, importSlices, isSlicesFolder } from "./slices.ts";

export interface ReadAdapter {
  readonly layout: AdapterLayout;
  /** Flat vectors of all members in `layout`, one after the other. */
  readonly adapter: Float32Array;
}

const memberFolder = (folder: string, member: number): string => join(folder, `member-${member}`);

/** @throws ScenarioError if the rescaler is not 1 everywhere, which no adapter can carry */
export function writeAdapterFolder(
  folder: string,
  layout: AdapterLayout,
  adapter: Float32Array,
  options: ExportOptions,
): void {
  const { members, size, pool } = layout;
  for (let member = 0; member < members; member++) {
    const to = members === 1 ? folder : memberFolder(folder, member);
    const own = adapter.subarray(member * size, (member + 1) * size);
    if (pool !== null) exportPools(to, pool, own, options);
    else if (layout.lora.slices !== undefined) exportSlices(to, layout, own, options);
    else exportPeft(to, layout, own, options);
  }
}

/** @throws InputError naming the file and what is wrong with it, or the first member that is unlike the others */
export function readAdapterFolder(folder: string, config: ModelConfig): ReadAdapter {
  const parts: Part[] = [];
  for (let at = memberFolder(folder, 0); existsSync(at); at = memberFolder(folder, parts.length)) {
    parts.push(readPart(at, config));
    if (kindOf(parts.at(-1)!) === kindOf(parts[0]!)) continue;
    throw new InputError(
      `${at} is ${kindOf(parts.at(-1)!)}, expected ${kindOf(parts[0]!)} as in ${memberFolder(folder, 0)}`,
    );
  }
  const [first = readPart(folder, config), ...others] = parts;
  const members = 1 + others.length;
  const layout = adapterLayout(config, first.lora, { ...first.shape, ...(members > 1 && { members }) });
  const adapter = new Float32Array(members * layout.size);
  for (const [member, { values }] of [first, ...others].entries()) adapter.set(values, member * layout.size);
  return { layout, adapter };
}

/** As above, of a layout that is known. @throws InputError also when the folder holds another */
export function readAdapterLike(folder: string, config: ModelConfig, expected: AdapterLayout): Float32Array {
  const { layout, adapter } = readAdapterFolder(folder, config);
  const [found, wanted] = [formOf(layout), formOf(expected)];
  if (found === wanted) return adapter;
  throw new InputError(`${folder} holds ${found}, but what is trained is ${wanted}`);
}

const formOf = ({ members, pool, lora, routers }: AdapterLayout): string => {
  const one = kindOf({ lora, shape: pool === null ? { routers: routers.length > 0 } : { beside: pool.beside } });
  return members === 1 ? one : `${members} members of ${one}`;
};

interface Part {
  readonly values: Float32Array;
  readonly lora: LoraConfig;
  readonly shape: AdapterShape;
}

function readPart(folder: string, config: ModelConfig): Part {
  if (isPoolsFolder(folder)) {
    const { layout, parameters } = importPools(folder, config);
    return { values: parameters, lora: { rank: 1, alpha: 1 }, shape: { beside: layout.beside } };
  }
  if (isSlicesFolder(folder)) {
    const { layout, parameters } = importSlices(folder, config);
    return { values: parameters, lora: layout.lora, shape: {} };
  }
  const other = existsSync(join(folder, "adapter_config.json")) ? undefined : otherTensors(folder);
  if (other !== undefined) {
    throw new InputError(
      `${folder} holds ${other} and no adapter_config.json; expected an adapter of a language model`,
    );
  }
  const { layout, adapter } = importPeft(folder, config);
  return { values: adapter, lora: layout.lora, shape: layout.shape };
}

/** Tensors that are no adapter: a model, or what other tasks leave. */
const otherTensors = (folder: string): string | undefined =>
  existsSync(folder)
    ? readdirSync(folder).find((name) => name.endsWith(".safetensors") && !name.startsWith("adapter_model"))
    : undefined;

const kindOf = ({ lora, shape: { beside, routers } }: Pick<Part, "lora" | "shape">): string =>
  beside === undefined
    ? `LoRA of rank ${lora.rank} and alpha ${lora.alpha}${onAttention(lora)}${routers === true ? " with routers" : ""}${routed(lora)}`
    : `pools of ${beside.experts} small experts of width ${beside.width}`;

const onAttention = ({ targets }: LoraConfig): string =>
  targets === "experts-and-attention" ? " on experts and attention" : "";

const routed = ({ slices }: LoraConfig): string =>
  slices === undefined
    ? ""
    : `, ${slices.topK} of ${slices.routed} ranks and ${slices.zero} zero slots chosen for each input`;
