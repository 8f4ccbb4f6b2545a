/** FLAME: an expert listens most to the clients whose tokens reached it. */
import * as z from "zod";
import type { StepContext } from "../../tasks/steps.ts";
import { add, scale } from "../../tensor/ops/arithmetic.ts";
import { averaging, discountField } from "../averaging.ts";
import { loadBalance } from "../experts/losses.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

export const flame = defineStrategy({
  type: "flame",
  about: {
    adapts: "experts a token by budget; the weight of each expert by how often a client used it",
    formula: `
      w_ij = n_i · f_ij^t              n_i examples, f_ij activation frequency of expert j on client i
      θ_j ← θ_j + Σ_i w_ij·Δ_ij / Σ_i w_ij
    `,
    notes: `
      f_ij = a_ij / (S_i·k_i), tokens routed to the expert ÷ all that were routed, so the frequencies of a layer sum to 1.
      "tokens" divides by tokens seen, S_i: then they sum to k_i, and a client that activates eight experts outweighs one
      that activates a single expert by 8^t. The paper leaves open which it is; with "tokens" small budgets
      are hardly heard, and large ones gain nothing wherever both were run (docs/paper.md). LoRA A and B are averaged
      separately, which is not the average of the products B·A. The rescaler is an option of the scenario and works with
      any strategy. The paper does not say whether routers train: with trainRouters they do, and are averaged by examples,
      as attention is where lora.targets has it; balance adds the load-balance loss, which reaches frozen routers only by
      what goes into them.
    `,
    sends: "how often each expert was used",
    keeps: "a rescaler for each client, with the server",
    sources: [
      {
        by: "Le et al.",
        title: "FLAME: Towards Federated Fine-Tuning Large Language Models Through Adaptive SMoE",
        year: 2025,
        url: "https://arxiv.org/abs/2506.16600",
      },
    ],
    certainty: "rebuilt: what activations are a share of, and the rescaler's start and scope",
    reduces: [{ options: { frequencyExponent: 0 }, to: { type: "fedavg" }, gives: ["program", "bytes"] }],
  },
  options: {
    // Up to 16, f^t of a single token among 2³² is still a normal float64, so no weight is lost to underflow.
    frequencyExponent: z.number().min(0).max(16).default(2).describe("t; 0⁰ = 1"),
    frequencyNorm: z
      .enum(["share", "tokens"])
      .default("share")
      .describe("what a_ij is divided by: all activations of the client, or its tokens"),
    trainRouters: z.boolean().default(false).describe("whether routers train, beside the experts"),
    balance: z.number().min(0).default(0).describe("weight of the load-balance loss in the objective"),
    ...discountField,
  },
  name: ({ frequencyExponent: t, frequencyNorm }) => `flame(t=${t}${frequencyNorm === "tokens" ? ",tokens" : ""})`,
  make: ({ frequencyExponent: t, frequencyNorm, trainRouters, balance, discounts }) => ({
    needs: trainRouters ? ["experts", "routers"] : ["experts"],
    ...(trainRouters && { shape: { routers: true } }),
    ...(balance > 0 && { steps: () => ({ merges: false, objective: (at) => balanced(at, balance) }) }),
    ...averaging(discounts, ({ examples, counts, units, budget }, group, { groups }) => {
      // Routers and attention, where they train.
      if (groups[group]!.always) return examples;
      const all = frequencyNorm === "share" ? units * budget : units;
      const frequency = all === 0 ? 0 : counts[group]! / all;
      return examples * frequency ** t;
    }),
  }),
});

function balanced(at: StepContext, weight: number) {
  const experts = at.pass.routers!.map(({ probabilities }) =>
    at.graph.constant([probabilities.shape.at(-1) as number], [1]),
  );
  return add(at.loss, scale(loadBalance(at, experts), weight));
}
