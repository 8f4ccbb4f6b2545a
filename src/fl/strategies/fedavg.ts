/**
 * Federated averaging of the LoRA factors (FedIT).
 *
 *   θ_j ← θ_j + Σ_i n_i·Δ_ij / Σ_i n_i
 *
 * McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017.
 * https://arxiv.org/abs/1602.05629; on LoRA: Zhang et al., "FedIT", 2023, https://arxiv.org/abs/2305.05644
 */
import { z } from "zod";
import { parseSpec } from "../problem.ts";
import type { AggregationStrategy } from "../strategy.ts";
import type { Update } from "../update.ts";
import {
  accumulateMean,
  addMean,
  averagingFields,
  averagingWeight,
  emptyMean,
  type WeightedMean,
} from "./weighted-average.ts";

export const fedavgSpec = z.strictObject({ type: z.literal("fedavg"), ...averagingFields });

export type FedavgOptions = Omit<z.input<typeof fedavgSpec>, "type">;

export function fedavg(options: FedavgOptions = {}): AggregationStrategy<WeightedMean> {
  const spec = parseSpec("strategy", fedavgSpec, { type: "fedavg", ...options });
  const weight = (update: Update, expert: number) => averagingWeight(spec, update, expert);
  return {
    name: spec.weighting === "uniform" ? "fedavg(uniform)" : "fedavg",
    spec,
    weight: (update, expert) => weight(update, expert) * update.discount,
    init: emptyMean,
    accumulate: (sum, update, layout) => accumulateMean(sum, update, layout, spec.discounts, weight),
    finish: addMean,
  };
}
