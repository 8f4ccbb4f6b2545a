/**
 * Experts whose LoRA belongs to clients: each row passes through its expert with the factors of its client, times its
 * routing weight, `[rows, width] → [rows, width]`, ragged over experts.
 *
 *   y = x·W + c·(x·Aᵀ)·Bᵀ      W of the expert, A and B of the (client, expert)
 *
 * Rows of an expert come client after client, because copies of tokens do and sorting by expert keeps their order. LoRA is
 * one batched product per factor, on groups padded to the longest (`tensor/ops/padded.ts`).
 */
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, mul, swiglu } from "../tensor/ops/arithmetic.ts";
import { reshape, split } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { groupSlots, padGroups, type Slots, unpadGroups } from "../tensor/ops/padded.ts";
import { groupedMatmul } from "../tensor/ops/ragged.ts";
import type { AdapterLayout } from "./adapter.ts";
import type { ModelConfig } from "./config.ts";
import type { Dispatched, LayerAdapter } from "./transformer.ts";

/**
 * How the base products see the rows of all clients. `ragged`: one product per expert, over as many rows as it has; the
 * base products are most of the work, and padding would add to it. `padded`: one batched product, for devices on which a
 * product over no rows, or a cut whose place is known at run time only, is dear or impossible.
 */
export type BaseProducts = "ragged" | "padded";

export interface ClientExperts {
  readonly config: ModelConfig;
  readonly layout: AdapterLayout;
  readonly clients: number;
  readonly base: BaseProducts;
}

/** @param factors `[clients · experts, rows, columns]` each, client after client */
export function clientExperts(
  { config, layout, clients, base }: ClientExperts,
  factors: LayerAdapter,
  dispatched: Dispatched,
  gateUp: Tensor,
  down: Tensor,
): { readonly outputs: Tensor; readonly counts: Tensor } {
  const { positions, labels } = dispatched;
  const slots = groupSlots(positions, labels, { groups: config.experts, parts: clients });
  const alpha = layout.lora.alpha / layout.lora.rank;
  const through = base === "ragged" ? throughRagged : throughPadded;
  return { outputs: through(factors, alpha, dispatched, slots, gateUp, down), counts: slots.counts };
}

type Through = (
  factors: LayerAdapter,
  alpha: number,
  rows: Dispatched,
  slots: Slots,
  gateUp: Tensor,
  down: Tensor,
) => Tensor;

const throughRagged: Through = (factors, alpha, { x, weight }, slots, gateUp, down) => {
  const { gateB, upB, downB } = factors;
  const adapted = (product: Tensor, low: Tensor, b: Tensor) => add(product, unpadGroups(times(low, b, alpha), slots));
  const [lowGate, lowUp] = halves(times(padGroups(x, slots), factors.gateUpA), 2);
  const [gate, up] = halves(groupedMatmul(x, gateUp), 1);
  const hidden = mul(swiglu(adapted(gate, lowGate, gateB), adapted(up, lowUp, upB)), weight);
  const lowDown = times(padGroups(hidden, slots), factors.downA);
  return adapted(groupedMatmul(hidden, down), lowDown, downB);
};

const throughPadded: Through = (factors, alpha, { x, weight }, slots, gateUp, down) => {
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
  const [lowGate, lowUp] = halves(times(rows, factors.gateUpA), 2);
  const [gate, up] = halves(based(rows, gateUp), 2);
  const activated = swiglu(adapted(gate, lowGate, gateB), adapted(up, lowUp, upB));
  const lowDown = times(activated, factors.downA);
  return mul(unpadGroups(adapted(based(activated, down), lowDown, downB), slots), weight);
};

const times = (a: Tensor, b: Tensor, alpha = 1): Tensor => matmul(a, b, { transposeB: true, alpha });

function halves(t: Tensor, axis: number): [Tensor, Tensor] {
  const half = (t.shape[axis] as number) / 2;
  return split(t, axis, [half, half]) as [Tensor, Tensor];
}
