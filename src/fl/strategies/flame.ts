/**
 * FLAME aggregation: an expert listens most to the clients whose tokens reached it.
 *
 *   w_ij = n_i · f_ij^t              n_i examples, f_ij activation frequency of expert j on client i
 *   θ_j ← θ_j + Σ_i w_ij·Δ_ij / Σ_i w_ij
 *
 * f_ij = a_ij / S_i, tokens routed to the expert ÷ tokens seen, so the frequencies of a layer sum to the client's
 * budget k_i. `share` divides by k_i as well: then a client that activates eight experts does not outweigh one that
 * activates a single expert by 8^t.
 *
 * t = 0 is FedAvg (0⁰ = 1). LoRA A and B are averaged separately, which is not the average of the products B·A.
 * Le et al., "FLAME", 2025. https://arxiv.org/abs/2506.16600
 */
import { z } from "zod";
import { parseSpec } from "../problem.ts";
import type { AggregationStrategy } from "../strategy.ts";
import type { Update } from "../update.ts";
import { accumulateMean, addMean, discountField, emptyMean, type WeightedMean } from "./weighted-average.ts";

export const flameSpec = z.strictObject({
  type: z.literal("flame"),
  /** t. Up to 16, f^t of a single token among 2³² is still a normal float64, so no weight is lost to underflow. */
  frequencyExponent: z.number().min(0).max(16).default(2),
  frequencyNorm: z.enum(["tokens", "share"]).default("tokens"),
  ...discountField,
});

export type FlameOptions = Omit<z.input<typeof flameSpec>, "type">;

export function flame(options: FlameOptions = {}): AggregationStrategy<WeightedMean> {
  const spec = parseSpec("strategy", flameSpec, { type: "flame", ...options });
  const { frequencyExponent: t, frequencyNorm, discounts } = spec;

  const weight = (update: Update, expert: number): number => {
    const tokens = frequencyNorm === "share" ? update.tokens * update.topK : update.tokens;
    const frequency = tokens === 0 ? 0 : update.activations[expert]! / tokens;
    return update.examples * frequency ** t;
  };

  return {
    name: frequencyNorm === "share" ? `flame(t=${t},share)` : `flame(t=${t})`,
    spec,
    weight: (update, expert) => weight(update, expert) * update.discount,
    init: emptyMean,
    accumulate: (sum, update, layout) => accumulateMean(sum, update, layout, discounts, weight),
    finish: addMean,
  };
}
