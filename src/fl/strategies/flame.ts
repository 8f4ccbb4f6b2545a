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
import { averaging, discountField } from "../averaging.ts";
import { defineStrategy } from "../define-strategy.ts";

export const flame = defineStrategy({
  type: "flame",
  options: {
    /** t. Up to 16, f^t of a single token among 2³² is still a normal float64, so no weight is lost to underflow. */
    frequencyExponent: z.number().min(0).max(16).default(2),
    frequencyNorm: z.enum(["tokens", "share"]).default("tokens"),
    ...discountField,
  },
  name: ({ frequencyExponent: t, frequencyNorm }) => `flame(t=${t}${frequencyNorm === "share" ? ",share" : ""})`,
  make: ({ frequencyExponent: t, frequencyNorm, discounts }) =>
    averaging(discounts, ({ examples, counts, units, budget }, group) => {
      const all = frequencyNorm === "share" ? units * budget : units;
      const frequency = all === 0 ? 0 : counts[group]! / all;
      return examples * frequency ** t;
    }),
});
