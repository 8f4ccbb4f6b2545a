/** A client that strays pays for it. */
import * as z from "zod";
import { averagingBy, averagingFields } from "../averaging.ts";
import { proximal } from "../proximal.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

export const fedprox = defineStrategy({
  type: "fedprox",
  about: {
    adapts: "the local objective: a proximal term keeps clients near what they received",
    formula: `
      F_i(θ) + μ/2 · ‖θ − θ₀‖²          what client i minimises; θ₀ as received
    `,
    notes: "Clients may do different amounts of work; partial work is kept.",
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Li et al.",
        title: "Federated Optimization in Heterogeneous Networks",
        year: 2018,
        url: "https://arxiv.org/abs/1812.06127",
      },
    ],
    certainty: "as published",
    reduces: [{ options: { mu: 0 }, to: { type: "fedavg" }, gives: ["program", "bytes"] }],
  },
  options: {
    mu: z.number().min(0).default(0.01).describe("μ; the paper tunes it among 0.001, 0.01, 0.1 and 1"),
    ...averagingFields,
  },
  name: ({ mu }) => `fedprox(μ=${mu})`,
  make: ({ mu, ...options }) => ({
    ...averagingBy(options),
    ...(mu > 0 && { steps: () => proximal(mu) }),
  }),
});
