/**
 * What a participation costs, known from its plan before anything is trained: bytes on the wire, and work on the device.
 * Whoever wants to know, the server, the clients' effort and the checks before a run, asks here.
 *
 *   time = Σ (latency + bytes ÷ rate)  +  effort · training + probing
 *
 * A probe is a forward pass over all local examples that are trained on, whatever the effort, or a training step's pass if
 * it differentiates; those kept from training pass forward once. All that are trained on pass once through layers that rest.
 */
import type { ClientId } from "../base/ids.ts";
import type { ParameterLayout } from "../tasks/layout.ts";
import type { Scope } from "../tasks/scope.ts";
import type { Cost, Variant } from "../tasks/task.ts";
import { bytesOf, type Plan } from "./plan.ts";

export interface Charge {
  /** Bytes of the invitation and of the update, besides their envelopes. */
  readonly download: number;
  readonly upload: number;
  /** Of the exchange ahead of the update; null where there is none. */
  readonly preliminary: { readonly up: number; readonly down: number } | null;
  /** Milliseconds of all local steps, and of all probes, on the client's undisturbed device. */
  readonly training: number;
  readonly probing: number;
}

/** Null stands for the plan of a method that asks nothing special of anybody. */
type Charged = Pick<Plan, "kind" | "bytes" | "scope" | "members" | "preliminary"> | null;

export type ChargeOf = (client: ClientId, plan: Charged) => Charge;

/** What charges are made of. */
export interface Tariff {
  /** Of messages that carry the whole model, besides their envelopes. */
  readonly bytes: { readonly download: number; readonly upload: number };
  readonly layout: ParameterLayout;
  /** k_i of each client, as its variant of the task. */
  variantOf(client: ClientId): Variant;
  /** Milliseconds of a client's local training at its own budget; and of one pass over its examples of that. */
  trainingTimeOf(client: ClientId): number;
  epochTimeOf(client: ClientId): number;
  /** FLOP of a token. */
  flopsOf(variant: Variant, scope?: Scope): Cost;
  /** Share of its examples that a client keeps from training. */
  readonly kept: number;
  /** How many models train where a plan does not say. */
  readonly members: number;
  /**
   * Probes of a kind of plan over the examples that are trained on, those of them that differentiate, and over those kept;
   * and forward passes of a step besides its own.
   */
  passesOf(kind: Plan["kind"]): {
    readonly trained: number;
    readonly backward: number;
    readonly validating: number;
    readonly besides: number;
  };
}

export function chargesBy(tariff: Tariff): ChargeOf {
  const { kept, bytes, layout, members, variantOf, trainingTimeOf, epochTimeOf, flopsOf, passesOf } = tariff;
  const sent = (whole: number, parameters: number): number => Math.max(0, whole - 4 * layout.size + parameters);
  return (client, plan) => {
    if (plan === null) {
      // Field by field: this is asked several times for every client of a large fleet, and spreading takes longer.
      const { download, upload } = bytes;
      return { download, upload, preliminary: null, training: (1 - kept) * trainingTimeOf(client), probing: 0 };
    }
    const own = flopsOf(variantOf(client));
    const { once = 0, ...asked } = flopsOf(plan.kind.variant, plan.scope);
    const { down, up } = bytesOf(plan, layout);
    const { trained, backward, validating, besides } = passesOf(plan.kind);
    const forward = (trained - backward) * (1 - kept) + validating * kept;
    const probed = forward * asked.forward + backward * (1 - kept) * asked.training;
    const step = besides === 0 ? asked.training : asked.training + besides * asked.forward;
    const models = plan.members?.length ?? members;
    return {
      download: sent(bytes.download, down),
      upload: sent(bytes.upload, up),
      preliminary: plan.preliminary ?? null,
      training: (models * (1 - kept) * trainingTimeOf(client) * step) / own.training,
      probing: (models * epochTimeOf(client) * (probed + (1 - kept) * once)) / own.training,
    };
  };
}
