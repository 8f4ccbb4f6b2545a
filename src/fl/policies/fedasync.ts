/**
 * FedAsync: every update makes a version of its own.
 *
 *   θ ← (1 − α_τ)·θ + α_τ·θ_i,   α_τ = α · s(τ)          staleness τ
 *
 * α_τ is the accepted update's discount, and the strategy `mix` reads it as the share of the way to the client's
 * adapter. With a mean of deltas (`flame`, `fedavg`, `discounts: "damp"`) the same discount scales the client's delta:
 * θ + α_τ·Δ_i, which is FedBuff with a buffer of one. The two agree on fresh updates.
 * Xie, Koyejo, Gupta, "Asynchronous Federated Optimization", 2019. https://arxiv.org/abs/1903.03934
 */
import * as z from "zod";
import { definePolicy } from "../policy.ts";
import { buffered, timeoutField } from "./buffered.ts";
import { stalenessFields } from "./staleness.ts";

export const fedasync = definePolicy({
  type: "fedasync",
  is: "no rounds: clients work all the time, and every update moves the model",
  options: {
    concurrency: z.int().min(1).describe("clients at work at any time"),
    mixing: z.number().positive().max(1).default(0.6).describe("α, how far the model moves to a fresh update"),
    ...stalenessFields,
    ...timeoutField,
  },
  name: ({ concurrency, mixing }) => `fedasync(${concurrency},α=${mixing})`,
  sizedLike: ({ cohort, deadline }) => ({ concurrency: cohort, timeout: deadline }),
  make: (options) => buffered({ ...options, buffer: 1, share: options.mixing }),
});
