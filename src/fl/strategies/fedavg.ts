/** Federated averaging; of LoRA factors, FedIT. */

import { z } from "zod";
import { averagingBy, averagingFields } from "../averaging.ts";
import { usual } from "../plan.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

export const fedavg = defineStrategy({
  type: "fedavg",
  about: {
    adapts: "nothing: the weighted mean of updates",
    formula: `
      θ_j ← θ_j + Σ_i n_i·Δ_ij / Σ_i n_i          n_i examples of client i, j a group of parameters
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "McMahan et al.",
        title: "Communication-Efficient Learning of Deep Networks from Decentralized Data",
        year: 2017,
        url: "https://arxiv.org/abs/1602.05629",
      },
      {
        by: "Zhang et al.",
        title: "Towards Building the Federated GPT: Federated Instruction Tuning",
        year: 2023,
        url: "https://arxiv.org/abs/2305.05644",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    ...averagingFields,
    budget: z
      .enum(["own", "largest"])
      .default("own")
      .describe("what every client trains at: its own budget, or the largest of the fleet, whatever that costs it"),
  },
  name: ({ weighting }) => (weighting === "uniform" ? "fedavg(uniform)" : "fedavg"),
  make: ({ budget, ...options }) => ({
    ...averagingBy(options),
    ...(budget === "largest" && {
      plan: (_client, _server, setting) => usual({ budget: setting.budgets.at(-1)! }, setting),
    }),
  }),
});
