/**
 * A client that strays pays for it: FedAvg whose clients minimise
 *
 *   F_i(θ) + μ/2 · ‖θ − θ₀‖²          θ₀ as received
 *
 * μ = 0 is FedAvg. Clients may do different amounts of work; partial work is kept.
 * Li et al., "Federated Optimization in Heterogeneous Networks", 2018. https://arxiv.org/abs/1812.06127
 */
import { z } from "zod";
import type { Steps } from "../../tasks/steps.ts";
import { add, scale, sub } from "../../tensor/ops/arithmetic.ts";
import { averagingBy, averagingFields } from "../averaging.ts";
import { defineStrategy } from "../define-strategy.ts";

export const fedprox = defineStrategy({
  type: "fedprox",
  options: {
    /** μ; the paper tunes it among 0.001, 0.01, 0.1 and 1. */
    mu: z.number().min(0).default(0.01),
    ...averagingFields,
  },
  name: ({ mu }) => `fedprox(μ=${mu})`,
  make: ({ mu, ...options }) => ({
    ...averagingBy(options),
    ...(mu > 0 && {
      steps: (): Steps => ({
        // The derivative of the penalty, two passes over the parameters.
        gradient: (gradient, { parameters, start }) => add(gradient, scale(sub(parameters, start), mu)),
      }),
    }),
  }),
});
