/** Federated averaging; of LoRA factors, FedIT. */

import * as z from "zod";
import type { ParameterLayout } from "../../tasks/layout.ts";
import type { Steps } from "../../tasks/steps.ts";
import { averagingBy, averagingFields, moved, type WeightedMean } from "../averaging.ts";
import { type Plan, usual } from "../plan.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

export const fedavg = defineStrategy({
  type: "fedavg",
  about: {
    adapts: "nothing: the weighted mean of updates",
    formula: `
      θ_j ← θ_j + Σ_i n_i·Δ_ij / Σ_i n_i          n_i examples of client i, j a group of parameters
    `,
    notes: `
      With population the sum below is over all clients, those that were not invited or did not come included, as if they
      had sent what they received. With factors "B" (FFA-LoRA) all keep the A they began with, and send B alone: then the
      average of the factors is that of their products, for about half the bytes.
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
      {
        by: "Sun et al.",
        title: "Improving LoRA in Privacy-preserving Federated Learning",
        year: 2024,
        url: "https://arxiv.org/abs/2403.12313",
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
    population: z.boolean().default(false).describe("whether clients that are not there count as unchanged"),
    factors: z.enum(["both", "B"]).default("both").describe("what of low-rank pairs trains and travels"),
  },
  name: ({ weighting }) => (weighting === "uniform" ? "fedavg(uniform)" : "fedavg"),
  make: ({ budget, population, factors, ...options }) => ({
    ...averagingBy(options),
    ...(population && {
      finish: (sum: WeightedMean, server, { layout, clients, examples }) => {
        if (sum.updates === 0) return server;
        const each = (client: number) => (options.weighting === "examples" ? examples(client) : 1);
        const all = Array.from({ length: clients }, (_, client) => each(client)).reduce((a, b) => a + b, 0);
        const share = (group: number) => sum.weight[group]! / all;
        const parameters = moved(sum, server.parameters, layout, (_, mean, group) => share(group) * mean);
        return { ...server, parameters };
      },
    }),
    ...(factors === "B" && { needs: ["low-rank"], steps: () => onlyB }),
    ...((budget === "largest" || factors === "B") && {
      plan: ({ budget: own }, _server, setting) => ({
        ...usual({ budget: budget === "largest" ? setting.budgets.at(-1)! : own }, setting),
        ...(factors === "B" && withoutA(setting.layout)),
      }),
    }),
  }),
});

const onlyB: Steps = { given: { moving: "parameters" }, moves: ({ given }) => given.moving! };

/** 1 for what trains: all but the factors A, which stay where all clients begin. */
function withoutA({ size, pairs }: ParameterLayout): Pick<Plan, "inputs" | "bytes"> {
  const moving = new Float32Array(size).fill(1);
  for (const { a, rank, inputs } of pairs) moving.fill(0, a, a + rank * inputs);
  const bytes = 4 * moving.reduce((sum, moves) => sum + moves, 0);
  return { inputs: { moving }, bytes: { down: bytes, up: bytes } };
}
