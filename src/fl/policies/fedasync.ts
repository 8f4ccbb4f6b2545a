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
import { z } from "zod";
import type { RoundPolicy } from "../policy.ts";
import { type Problem, parseSpec } from "../problem.ts";
import { buffered, timeoutField } from "./buffered.ts";
import { atMost } from "./fields.ts";
import { stalenessFields } from "./staleness.ts";

export const fedasyncSpec = z.strictObject({
  type: z.literal("fedasync"),
  /** Clients at work at any time. */
  concurrency: z.int().min(1),
  /** α. */
  mixing: z.number().positive().max(1).default(0.6),
  ...stalenessFields,
  ...timeoutField,
});

export type FedasyncOptions = Omit<z.input<typeof fedasyncSpec>, "type">;

export function fedasync(options: FedasyncOptions): RoundPolicy {
  const spec = parseSpec("policy", fedasyncSpec, { type: "fedasync", ...options });
  return buffered(`fedasync(${spec.concurrency},α=${spec.mixing})`, spec, { ...spec, buffer: 1, share: spec.mixing });
}

export const checkFedasync = ({ concurrency }: z.output<typeof fedasyncSpec>, fleetSize: number): Problem[] =>
  atMost("concurrency", concurrency, fleetSize, "the clients of the fleet");
