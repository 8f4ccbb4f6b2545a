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
import { z } from "zod";
import type { RoundPolicy } from "../policy.ts";
import { type Problem, parseSpec } from "../problem.ts";
import { buffered, timeoutField } from "./buffered.ts";
import { atMost } from "./fields.ts";
import { stalenessFields } from "./staleness.ts";

export const fedbuffSpec = z.strictObject({
  type: z.literal("fedbuff"),
  /** C, clients at work at any time. */
  concurrency: z.int().min(1),
  /** M, updates to a version. */
  buffer: z.int().min(1).default(10),
  ...stalenessFields,
  ...timeoutField,
});

export type FedbuffOptions = Omit<z.input<typeof fedbuffSpec>, "type">;

export function fedbuff(options: FedbuffOptions): RoundPolicy {
  const spec = parseSpec("policy", fedbuffSpec, { type: "fedbuff", ...options });
  return buffered(`fedbuff(${spec.concurrency}/${spec.buffer})`, spec, { ...spec, share: 1 });
}

export function checkFedbuff({ concurrency, buffer }: z.output<typeof fedbuffSpec>, fleetSize: number): Problem[] {
  return [
    ...atMost("concurrency", concurrency, fleetSize, "the clients of the fleet"),
    ...atMost("buffer", buffer, fleetSize, "the clients of the fleet"),
  ];
}
