/**
 * FedBuff: clients work without barriers, and the server aggregates whenever its buffer is full.
 *
 *   θ ← θ + η_s · (1/M) · Σ Δ_i / √(1 + τ_i)          M updates in the buffer, staleness τ_i
 *
 * The weight of staleness is the accepted update's discount. A strategy with `discounts: "damp"` divides by the buffer's
 * full weight, as the formula does; `reweigh` divides by the sum of the discounted weights. η_s belongs to the strategy
 * (`fedavgm` with momentum 0). A client may be in one buffer twice.
 * Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", 2022. https://arxiv.org/abs/2106.06639
 */
import * as z from "zod";
import { definePolicy } from "../policy.ts";
import { buffered, timeoutField } from "./buffered.ts";
import { stalenessFields } from "./staleness.ts";

export const fedbuff = definePolicy({
  type: "fedbuff",
  is: "no rounds: clients work all the time, and every so many updates make a version",
  options: {
    concurrency: z.int().min(1).describe("C, clients at work at any time"),
    buffer: z.int().min(1).default(10).describe("M, updates to a version"),
    ...stalenessFields,
    ...timeoutField,
  },
  name: ({ concurrency, buffer }) => `fedbuff(${concurrency}/${buffer})`,
  sizedLike: ({ cohort, deadline }) => ({
    concurrency: cohort,
    buffer: Math.max(1, Math.ceil(cohort / 4)),
    timeout: deadline,
  }),
  make: (options) => buffered({ ...options, share: 1 }),
});
