/**
 * The language-model task: per-expert LoRA on a frozen sparse mixture of experts. A budget is how many experts a token
 * activates; groups are experts, numbered through the layers; personal is one rescaler s_l a layer.
 */

import { adaptedExperts, type LayerAdapter, type LoraForm } from "../../model/adapted-experts.ts";
import { type AdapterLayout, adapterLayout, type LoraConfig } from "../../model/adapter.ts";
import { baseWeightShapes } from "../../model/base-weights.ts";
import type { ModelConfig } from "../../model/config.ts";
import { type ForwardOptions, forward, logitsAt } from "../../model/transformer.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { cast, mul } from "../../tensor/ops/arithmetic.ts";
import { integerDivide, less } from "../../tensor/ops/discrete.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { crossEntropy } from "../../tensor/ops/nn.ts";
import type { ParameterLayout } from "../layout.ts";
import type { BatchShape, Pass, Task, Variant } from "../task.ts";

export interface LlmOptions {
  readonly config: ModelConfig;
  readonly lora: LoraConfig;
  /** How LoRA is computed; a matter of speed. */
  readonly form: LoraForm;
}

export interface LlmTask extends Task {
  readonly config: ModelConfig;
  readonly adapter: AdapterLayout;
}

export function llmTask({ config, lora, form }: LlmOptions): LlmTask {
  const adapter = adapterLayout(config, lora);
  return {
    config,
    adapter,
    layout: parameterLayout(adapter),
    personal: config.layers,
    pass(graph, { parameters, personal }, variant, shape) {
      return llmPass({ config, adapter, form }, graph, parameters, personal!, variant, shape);
    },
  };
}

/** A group an expert. */
export function parameterLayout(adapter: AdapterLayout): ParameterLayout {
  const { layers, experts, size } = adapter;
  const groups = Array.from({ length: layers * experts }, (_, expert) => ({
    name: `layer ${Math.floor(expert / experts)}, expert ${expert % experts}`,
    ranges: adapter.ranges(expert),
  }));
  return { size, groups };
}

function llmPass(
  { config, adapter, form }: { readonly config: ModelConfig; readonly adapter: AdapterLayout; readonly form: LoraForm },
  graph: Graph,
  parameters: Tensor,
  personal: Tensor,
  variant: Variant,
  { clients, rows, length }: BatchShape,
): Pass {
  const batch = tokenInputs(graph, clients * rows, length);
  const layers = layerAdapters(parameters, adapter, clients);
  const scales = split(personal, -1, new Array<number>(config.layers).fill(1));
  const forEachToken = (scale: Tensor) => {
    const ones = graph.constant(new Array<number>(rows * length).fill(1), [1, rows * length]);
    return reshape(mul(scale, ones), [clients * rows * length, 1]);
  };
  const weights = baseWeightShapes(config);
  const options: ForwardOptions = {
    config,
    rows: clients * rows,
    length,
    topK: variant.topK as number,
    weight: (name) => graph.weight(name, weights.get(name)!),
    adapted: {
      rescaler: clients === 1 ? scales : scales.map(forEachToken),
      experts: adaptedExperts({ layout: adapter, clients, form }, layers),
    },
  };
  const { hidden, activations, routers } = forward(options, batch.ids, batch.padding);
  const logits = logitsAt(options, hidden, batch.positions);
  return {
    batch: { ...batch },
    losses: crossEntropy(logits, batch.targets),
    client: () => integerDivide(batch.positions, rows * length),
    example: () => integerDivide(batch.positions, length),
    logits,
    // A row that is an example has a token at its first place, where padding is 0.
    present: () =>
      less(cast(firstOfRows(batch.padding, clients * rows, length), "float32"), graph.constant([0.5], [1])),
    counts: activations,
    routers,
    tokens() {
      const padding = reshape(cast(batch.padding, "float32"), [clients * rows * length, 1]);
      return less(padding, graph.constant([0.5], [1]));
    },
  };
}

function firstOfRows(padding: Tensor, rows: number, length: number): Tensor {
  const grid = reshape(padding, [rows, length]);
  return reshape(length === 1 ? grid : split(grid, 1, [1, length - 1])[0]!, [rows]);
}

/** Tokens, padding (0 at a token, `experts` elsewhere), and where the loss lies. */
export function tokenInputs(graph: Graph, rows: number, length: number) {
  const responses = graph.symbol("responses");
  return {
    ids: graph.input("ids", "int32", [rows, length]),
    padding: graph.input("padding", "int32", [rows * length]),
    positions: graph.input("positions", "int32", [responses]),
    targets: graph.input("targets", "int32", [responses]),
  };
}

/** The layers' factors as parts of the flat adapters. */
function layerAdapters(flat: Tensor, { layers, experts, blocks }: AdapterLayout, clients: number): LayerAdapter[] {
  const sizes = blocks.map(({ rows, columns }) => experts * rows * columns);
  const parts = split(flat, -1, Array.from({ length: layers }, () => sizes).flat());
  return Array.from({ length: layers }, (_, layer) => {
    const [gateUpA, gateB, upB, downA, downB] = blocks.map(({ rows, columns }, index) =>
      reshape(parts[layer * blocks.length + index]!, [clients * experts, rows, columns]),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    return { gateUpA, gateB, upB, downA, downB };
  });
}
