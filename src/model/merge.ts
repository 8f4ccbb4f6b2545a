/**
 * Base weights with an adapter and a rescaler folded in, so that the model works without either:
 *
 *   W ← W + (alpha ÷ rank) · B·A          gate, up and down of every expert
 *   W ← W + (alpha ÷ rank) · B·A          q, k, v and o of every layer, where LoRA lies there
 *   D ← s_l · D                           every merged down projection of layer l
 *   R ← R + change                        every router, where routers train
 *
 * The rescaler is exact because it multiplies the whole output of the experts, and D is the last thing each of
 * them does. Sums are taken in float64 and rounded to float32 once.
 */
import { invariant } from "../base/errors.ts";
import type { AdapterLayout, BlockName } from "./adapter.ts";
import type { WeightSource } from "./base-weights.ts";
import { sparseLayers } from "./config.ts";

/**
 * A view: experts are merged when they are read, one at a time, so a merge needs no more memory than its largest expert.
 *
 * @param adapter flat vector in `layout`
 * @param rescaler s, `[layers with experts]`
 */
export function mergedWeights(
  base: WeightSource,
  layout: AdapterLayout,
  adapter: Float32Array,
  rescaler: ArrayLike<number>,
): WeightSource {
  const { width: d, expertWidth: f, experts } = base.config;
  /** By the number of a layer its place among those with experts. */
  const places = new Map(sparseLayers(base.config).map((layer, place) => [layer, place]));
  const layers = places.size;
  invariant(layout.layers === layers && layout.experts === experts, "the adapter is for another model");
  invariant(
    adapter.length === layout.size,
    () => `the adapter has ${adapter.length} elements, its layout ${layout.size}`,
  );
  invariant(rescaler.length === layers, () => `${rescaler.length} rescalers for ${layers} layers`);
  const { rank, alpha } = layout.lora;
  const scale = alpha / rank;
  const factor = (name: BlockName, expert: number) => {
    const { start, end } = layout.matrix(name, expert);
    return adapter.subarray(start, end);
  };

  function mergeGateUp(values: Float32Array, expert: number): void {
    const a = factor("gateUpA", expert);
    addProduct(values, 2 * f, 0, a, factor("gateB", expert), { rank, inputs: d, outputs: f, scale, factor: 1 });
    const upA = a.subarray(rank * d);
    addProduct(values, 2 * f, f, upA, factor("upB", expert), { rank, inputs: d, outputs: f, scale, factor: 1 });
  }

  function mergeDown(values: Float32Array, expert: number): void {
    const shape = { rank, inputs: f, outputs: d, scale, factor: rescaler[Math.floor(expert / experts)]! };
    addProduct(values, d, 0, factor("downA", expert), factor("downB", expert), shape);
  }

  /** A base router is `[width, experts]`, its change `[experts, width]`. */
  function changeRouter(values: Float32Array, first: number, layer: number): void {
    const change = layout.routers[layer];
    if (change === undefined) return;
    for (let i = 0; i < values.length; i++) {
      const [column, expert] = [Math.floor((first + i) / experts), (first + i) % experts];
      values[i]! += adapter[change.start + expert * d + column]!;
    }
  }

  /** q, k and v lie side by side. */
  function mergeAttention(values: Float32Array, name: string, layer: number): void {
    const attention = layout.attention[layer];
    if (attention === undefined) return;
    const pairs = attention.pairs.filter(({ projection }) => (projection === "o") === (name === "o"));
    const columns = pairs.reduce((sum, { outputs }) => sum + outputs, 0);
    invariant(values.length === pairs[0]!.inputs * columns, () => `layers.${layer}.${name} is read in parts`);
    let column = 0;
    for (const { inputs, outputs, a, b } of pairs) {
      const shape = { rank, inputs, outputs, scale, factor: 1 };
      addProduct(values, columns, column, adapter.subarray(a), adapter.subarray(b), shape);
      column += outputs;
    }
  }

  return {
    config: base.config,
    read(name, target, first = 0) {
      base.read(name, target, first);
      const [, at, projections] = /^layers\.(\d+)\.(qkv|o)$/.exec(name) ?? [];
      if (projections !== undefined) mergeAttention(target, projections, Number(at));
      const match = /^layers\.(\d+)\.(gateUp|down|router)$/.exec(name);
      if (match === null) return;
      const layer = places.get(Number(match[1]))!;
      if (match[2] === "router") {
        changeRouter(target, first, layer);
        return;
      }
      const isDown = match[2] === "down";
      const size = isDown ? f * d : 2 * f * d;
      invariant(first % size === 0 && target.length % size === 0, () => `${name} is read in parts of an expert`);
      for (let at = 0; at < target.length; at += size) {
        const expert = layer * experts + (first + at) / size;
        const values = target.subarray(at, at + size);
        if (isDown) mergeDown(values, expert);
        else mergeGateUp(values, expert);
      }
    },
  };
}

interface ProductShape {
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  /** alpha ÷ rank. */
  readonly scale: number;
  /** Multiplies the sum. */
  readonly factor: number;
}

/**
 * `values[i, column + o] ← factor · (values[i, column + o] + scale · Σ_r B[o, r] · A[r, i])`
 *
 * @param values a matrix `[inputs, columns]`, row-major
 * @param a `[rank, inputs]`
 * @param b `[outputs, rank]`
 */
function addProduct(
  values: Float32Array,
  columns: number,
  column: number,
  a: Float32Array,
  b: Float32Array,
  { rank, inputs, outputs, scale, factor }: ProductShape,
): void {
  const row = new Float64Array(outputs);
  for (let i = 0; i < inputs; i++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const weight = a[r * inputs + i]!;
      for (let o = 0; o < outputs; o++) row[o]! += b[o * rank + r]! * weight;
    }
    const start = i * columns + column;
    for (let o = 0; o < outputs; o++) values[start + o] = factor * (values[start + o]! + scale * row[o]!);
  }
}
