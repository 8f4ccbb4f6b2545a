/**
 * Experts with LoRA: each row passes through its expert with the factors of its client, times its routing weight.
 *
 *   y = x·W + c·(x·Aᵀ)·Bᵀ = x·(W + c·(B·A)ᵀ)      c = alpha ÷ rank, W of the expert, A and B of the (client, expert)
 *
 * Rows of an expert come client after client, because copies of tokens do and sorting by expert keeps their order. The
 * routing weight goes onto the hidden units, which are fewer than the outputs; the down projection is linear.
 */
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, mul, swiglu } from "../tensor/ops/arithmetic.ts";
import { concat, halves, reshape } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { mergeFactors } from "../tensor/ops/merge-factors.ts";
import { groupSlots, padGroups, type Slots, unpadGroups } from "../tensor/ops/padded.ts";
import { groupedMatmul } from "../tensor/ops/ragged.ts";
import type { AdapterLayout, BlockName } from "./adapter.ts";
import type { Dispatched, Experts } from "./transformer.ts";

/** One layer's factors, `[clients · experts, rows, columns]` each, client after client; layout in `adapter.ts`. */
export type LayerAdapter = Readonly<Record<BlockName, Tensor>>;

/**
 * How LoRA enters an expert's product. `factored`: x·W + c·(x·Aᵀ)·Bᵀ, the cheaper one when experts are wide. `merged`:
 * x·(W + c·(B·A)ᵀ), fewer products when experts are narrow, at the price of one more copy of the experts. `padded`:
 * factored, in one batched product for all experts, for devices on which a product over no rows, or a cut whose place is
 * known at run time only, is dear or impossible.
 *
 * Several clients have a batched product per factor, on groups padded to the longest. Their base products are padded in
 * the form `padded` only: these are most of the work, and padding adds to it. Merging would copy every expert for every
 * client, so `merged` is `factored` for them.
 */
export type LoraForm = "factored" | "merged" | "padded";

export interface AdapterSharing {
  readonly layout: AdapterLayout;
  readonly clients: number;
  readonly form: LoraForm;
  /** What each rank of a layer counts for each copy of a token, `[copies, rank]`; 1 unless given. Not in the form `merged`. */
  readonly gates?: (layer: number, positions: Tensor) => Tensor;
}

/** @param layers the factors of each layer */
export function adaptedExperts(
  { layout, clients, form, gates }: AdapterSharing,
  layers: readonly LayerAdapter[],
): Experts {
  const alpha = layout.lora.alpha / layout.lora.rank;
  if (clients === 1 && form !== "padded") {
    return (layer, rows, gateUp, down) => {
      const product = form === "merged" ? mergedProduct : factoredProduct(gates?.(layer, rows.positions));
      return { outputs: through(product, layers[layer]!, alpha, rows, gateUp, down) };
    };
  }
  const throughSlots = form === "padded" ? throughPadded : throughRagged;
  return (layer, rows, gateUp, down) => {
    const slots = groupSlots(rows.positions, rows.labels, { groups: layout.experts, parts: clients });
    const gated = gatedBy(gates && padGroups(gates(layer, rows.positions), slots));
    const outputs = throughSlots(layers[layer]!, alpha, rows, slots, gateUp, down, gated);
    return { outputs, ...(clients > 1 && { counts: slots.counts }) };
  };
}

type Product = (x: Tensor, weights: Tensor, a: Tensor, b: Tensor, alpha: number) => Tensor;

const mergedProduct: Product = (x, weights, a, b, alpha) => groupedMatmul(x, mergeFactors(weights, a, b, alpha));

const factoredProduct = (gates?: Tensor): Product => {
  const gated = gatedBy(gates);
  return (x, weights, a, b, alpha) => {
    const low = gated(groupedMatmul(x, a, { transposed: true }));
    return groupedMatmul(low, b, { transposed: true, alpha, base: groupedMatmul(x, weights) });
  };
};

/** What A gave, rank by rank or those of two A side by side, each times what its rank counts. */
const gatedBy =
  (gates: Tensor | undefined) =>
  (low: Tensor): Tensor => {
    if (gates === undefined) return low;
    return mul(low, low.shape.at(-1) === gates.shape.at(-1) ? gates : concat([gates, gates], gates.shape.length - 1));
  };

function through(
  product: Product,
  { gateUpA, gateB, upB, downA, downB }: LayerAdapter,
  alpha: number,
  { x, weight }: Dispatched,
  gateUp: Tensor,
  down: Tensor,
): Tensor {
  const [gate, up] = halves(product(x, gateUp, gateUpA, blockDiagonal(gateB, upB), alpha), 1);
  return product(mul(swiglu(gate, up), weight), down, downA, downB, alpha);
}

/** `[groups, m, n]` twice → `[groups, 2m, 2n]`: `a` and `b` along the diagonal, zeros beside them. */
function blockDiagonal(a: Tensor, b: Tensor): Tensor {
  const zeros = a.node.graph.zeros(a.shape as number[]);
  return concat([concat([a, zeros], 2), concat([zeros, b], 2)], 1);
}

type ThroughSlots = (
  factors: LayerAdapter,
  alpha: number,
  rows: Dispatched,
  slots: Slots,
  gateUp: Tensor,
  down: Tensor,
  gated: (low: Tensor) => Tensor,
) => Tensor;

const throughRagged: ThroughSlots = (factors, alpha, { x, weight }, slots, gateUp, down, gated) => {
  const { gateB, upB, downB } = factors;
  const adapted = (product: Tensor, low: Tensor, b: Tensor) => add(product, unpadGroups(times(low, b, alpha), slots));
  const [lowGate, lowUp] = halves(gated(times(padGroups(x, slots), factors.gateUpA)), 2);
  const [gate, up] = halves(groupedMatmul(x, gateUp), 1);
  const hidden = mul(swiglu(adapted(gate, lowGate, gateB), adapted(up, lowUp, upB)), weight);
  const lowDown = gated(times(padGroups(hidden, slots), factors.downA));
  return adapted(groupedMatmul(hidden, down), lowDown, downB);
};

const throughPadded: ThroughSlots = (factors, alpha, { x, weight }, slots, gateUp, down, gated) => {
  const { groups, parts, size } = slots;
  const { gateB, upB, downB } = factors;
  const columns = (t: Tensor) => t.shape[2] as number;
  const adapted = (product: Tensor, low: Tensor, b: Tensor) => add(product, times(low, b, alpha));
  /** The experts' matrices, the same for every client. */
  const based = (rows: Tensor, matrices: Tensor) => {
    const product = matmul(reshape(rows, [parts, groups, size, columns(rows)]), matrices);
    return reshape(product, [parts * groups, size, columns(matrices)]);
  };
  const rows = padGroups(x, slots);
  const [lowGate, lowUp] = halves(gated(times(rows, factors.gateUpA)), 2);
  const [gate, up] = halves(based(rows, gateUp), 2);
  const activated = swiglu(adapted(gate, lowGate, gateB), adapted(up, lowUp, upB));
  const lowDown = gated(times(activated, factors.downA));
  return mul(unpadGroups(adapted(based(activated, down), lowDown, downB), slots), weight);
};

const times = (a: Tensor, b: Tensor, alpha = 1): Tensor => matmul(a, b, { transposeB: true, alpha });
