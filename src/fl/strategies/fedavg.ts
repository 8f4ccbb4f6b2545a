/**
 * Federated averaging of the LoRA factors (FedIT).
 *
 *   θ_j ← θ_j + Σ_i n_i·Δ_ij / Σ_i n_i
 *
 * McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data", 2017.
 * https://arxiv.org/abs/1602.05629; on LoRA: Zhang et al., "FedIT", 2023, https://arxiv.org/abs/2305.05644
 */

import { averagingBy, averagingFields } from "../averaging.ts";
import { defineStrategy } from "../define-strategy.ts";

export const fedavg = defineStrategy({
  type: "fedavg",
  options: averagingFields,
  name: ({ weighting }) => (weighting === "uniform" ? "fedavg(uniform)" : "fedavg"),
  make: averagingBy,
});
