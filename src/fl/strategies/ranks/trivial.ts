/** The least that unequal devices can agree on: everybody trains the smallest rank. */
import { averagingBy, averagingFields } from "../../averaging.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { deployingGlobally, planOfRank, rankFields, rankProblems, smallestRank } from "./ranks.ts";

export const trivial = defineStrategy({
  type: "trivial",
  about: {
    adapts: "the rank: the smallest that any budget affords, for everybody",
    formula: `
      θ_j ← θ_j + Σ_i n_i·Δ_ij / Σ_i n_i          over the first r_min components, r_min = min over budgets of r_k
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Le et al.",
        title: "FLAME: Towards Federated Fine-Tuning Large Language Models Through Adaptive SMoE",
        year: 2025,
        url: "https://arxiv.org/abs/2506.16600",
      },
    ],
    certainty: "rebuilt: ranks of budgets, which the paper does not give",
    reduces: [],
  },
  options: { ...rankFields, ...averagingFields },
  make: (options) => ({
    needs: ["low-rank"],
    ...averagingBy(options),
    problems: (setting) => rankProblems(options, setting),
    plan: (client, _server, setting) => planOfRank(client, smallestRank(options, setting), options, setting),
    ...deployingGlobally(options),
  }),
});
