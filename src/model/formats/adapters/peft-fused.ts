/**
 * Adapters in the form that PEFT has for tensors which hold all experts of a layer (`target_parameters`): gate and up are one
 * product of twice the rank, whose B has them along its diagonal and zeros beside them.
 *
 *   …experts.base_layer.lora_A.weight   [experts · 2·rank, width]          gate and up; expert after expert, of each gate, then up
 *   …experts.base_layer.lora_B.weight   [2·expertWidth, 2·rank · experts]  rank after rank, of each all experts
 *   …experts.lora_A.weight              [experts · rank, expertWidth]      down
 *   …experts.lora_B.weight              [width, rank · experts]
 *
 * PEFT 0.21.0, `ParamWrapper`.
 */
import { InputError } from "../../../base/errors.ts";
import { show } from "../../../base/problem.ts";
import type { AdapterLayout, BlockName, LoraConfig } from "../../adapter.ts";
import { sparseLayers } from "../../config.ts";
import { architectureOf } from "../architectures/all.ts";
import type { SafetensorsFile } from "../safetensors.ts";
import type { NamedTensor } from "../safetensors-writer.ts";
import { attentionModules } from "./peft-attention.ts";

const gateUpParameter = "experts.gate_up_proj";
const gateUpPattern = ".*\\.gate_up_proj";

/** Fields of `adapter_config.json` that say so. */
export const fusedTargets = ({ rank, alpha, ...lora }: LoraConfig) => ({
  target_modules: attentionModules(lora),
  target_parameters: [gateUpParameter, "experts.down_proj"],
  rank_pattern: { [gateUpPattern]: 2 * rank },
  alpha_pattern: { [gateUpPattern]: 2 * alpha },
});

/** What of them is otherwise. */
export function fusedProblems(fields: Readonly<Record<string, unknown>>, lora: LoraConfig): string[] {
  return Object.entries(fusedTargets(lora)).flatMap(([name, expected]) => {
    const got = fields[name] ?? [];
    const sorted = (value: unknown) => JSON.stringify(Array.isArray(value) ? [...value].sort() : value);
    return sorted(got) === sorted(expected) ? [] : [`${name} is ${show(got)}, expected ${JSON.stringify(expected)}`];
  });
}

export interface FusedTensor {
  readonly name: string;
  readonly shape: readonly [rows: number, columns: number];
  /** Where an element lies in the flat vector; −1 where it is 0. */
  place(row: number, column: number): number;
}

export function* fusedTensors({ model, lora, layers, experts, matrix }: AdapterLayout): Generator<FusedTensor> {
  const { rank } = lora;
  const { width: d, expertWidth: f } = model;
  const { block } = architectureOf(model).names;
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `base_model.model.model.layers.${sparseLayers(model)[layer]}.${block}.experts`;
    const start = (name: BlockName, expert: number) => matrix(name, layer * experts + expert).start;
    /** Rows of an A: expert after expert. */
    const stacked = (name: "gateUpA" | "downA", each: number, inputs: number) => (row: number, column: number) =>
      start(name, Math.floor(row / each)) + (row % each) * inputs + column;
    yield {
      name: `${prefix}.base_layer.lora_A.weight`,
      shape: [experts * 2 * rank, d],
      place: stacked("gateUpA", 2 * rank, d),
    };
    yield {
      name: `${prefix}.base_layer.lora_B.weight`,
      shape: [2 * f, 2 * rank * experts],
      place(row, column) {
        const [at, isUp] = [Math.floor(column / experts), row >= f];
        if (at >= rank !== isUp) return -1;
        return start(isUp ? "upB" : "gateB", column % experts) + (row % f) * rank + (at % rank);
      },
    };
    yield {
      name: `${prefix}.lora_A.weight`,
      shape: [experts * rank, f],
      place: stacked("downA", rank, f),
    };
    yield {
      name: `${prefix}.lora_B.weight`,
      shape: [d, rank * experts],
      place: (row, column) => start("downB", column % experts) + row * rank + Math.floor(column / experts),
    };
  }
}

/** With its values, as files hold it. */
export function fusedValues({ name, shape, place }: FusedTensor, adapter: Float32Array): NamedTensor {
  const [rows, columns] = shape;
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < values.length; i++) {
    const at = place(Math.floor(i / columns), i % columns);
    if (at >= 0) values[i] = adapter[at]!;
  }
  return { name, shape, values };
}

/** @throws InputError at an element that is not finite, or not 0 where gate and up would mix */
export function readFused(file: SafetensorsFile, { name, shape, place }: FusedTensor, adapter: Float32Array): void {
  const [rows, columns] = shape;
  const values = new Float32Array(rows * columns);
  file.readFloats(name, values);
  for (const [i, value] of values.entries()) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const at = place(row, column);
    if (at < 0 ? value !== 0 : !Number.isFinite(value)) {
      const expected = at < 0 ? "0, for gate and up have a rank of their own each" : "finite numbers";
      throw new InputError(`${file.path}: tensor ${name} has ${value} at [${row}, ${column}], expected ${expected}`);
    }
    if (at >= 0) adapter[at] = value;
  }
}
