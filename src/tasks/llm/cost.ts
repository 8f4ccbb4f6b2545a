/** What a step of the language model costs by formula: see `model/accounting.ts`. */
import { adaptedFlops, forwardFlops, poolFlops, trainingFlops } from "../../model/accounting.ts";
import type { AdapterLayout } from "../../model/adapter.ts";
import { type ModelConfig, sparseLayers } from "../../model/config.ts";
import type { SymbolicDim } from "../../tensor/graph/shape.ts";
import { rankOf, type Scope } from "../scope.ts";
import type { BatchShape, Cost, Variant } from "../task.ts";

interface Model {
  readonly config: ModelConfig;
  readonly adapter: AdapterLayout;
}

export function costOf({ config, adapter }: Model, variant: Variant, scope?: Scope): Cost {
  const { topK, kept, from = 1 } = variant;
  if ((from as number) > 1) {
    // What layers below put out is kept for the whole round.
    const whole = { ...variant, from: 1 };
    const upper = upperLayers(config, (from as number) - 1);
    const { training, forward } = costOf({ config: upper, adapter }, whole, scope);
    const all = costOf({ config, adapter }, whole, scope).forward;
    return { training, forward: all, once: all - forward };
  }
  const k = topK as number;
  const { lora, pool } = adapter;
  if (pool !== null && kept !== undefined) {
    // Small experts in the place of LoRA.
    const added = poolFlops(config, pool.beside, kept as number);
    const base = forwardFlops(config, k);
    return { training: 2 * base + 3 * added, forward: base + added };
  }
  if (lora.slices !== undefined) {
    const active = Math.min(variant.ranks as number, lora.slices.routed) + lora.rank - lora.slices.routed;
    // How surprised the base model is by a prompt does not change while a client trains.
    const once = forwardFlops(config, config.topK);
    return { training: trainingFlops(config, k, active), forward: adaptedFlops(config, k, active), once };
  }
  const rank = (scope && rankOf(scope)) ?? lora.rank;
  return {
    training: trainingFlops(config, k, rank, lora.targets),
    forward: adaptedFlops(config, k, rank, lora.targets),
  };
}

/** The layers from that one on which is at a place among those with experts. */
function upperLayers(config: ModelConfig, place: number): ModelConfig {
  const first = sparseLayers(config)[place]!;
  const { dense } = config;
  const above = dense?.layers.filter((layer) => layer > first).map((layer) => layer - first);
  return { ...config, layers: config.layers - first, ...(dense && { dense: { ...dense, layers: above! } }) };
}

/** What the sizes known at run time can be expected to be: all loss, no padding. */
export function expectedSize(
  { experts }: ModelConfig,
  { symbol, groups }: SymbolicDim,
  variant: Variant,
  { clients, rows, length }: BatchShape,
): number {
  const topK = variant.topK as number;
  const tokens = rows * length;
  if (groups !== undefined) return clients * tokens * topK;
  // The fullest of 16 experts of 24 clients received 1.5, 2, 3 and 4.5 times its share with k = 8, 4, 2 and 1, and a token
  // never twice.
  if (symbol.startsWith("longest")) return Math.min(tokens, Math.ceil(((1 + 4 / topK) * tokens * topK) / experts));
  return clients * tokens;
}
