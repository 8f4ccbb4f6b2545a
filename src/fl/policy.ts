/**
 * When to invite, what to count, when to close: the server's round policy as pure functions of what the server can see.
 *
 * A policy reacts to three things (a round begins, an update arrives, a timer rings) with decisions the server carries
 * out in order. It keeps no state of its own; what it needs is in the view. A policy is one file.
 */
import type * as z from "zod";
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";
import type { Problem } from "../base/problem.ts";
import type { Millis } from "../base/units.ts";
import { type Definition, type Described, define, type Factory, type Named, nothing } from "./define.ts";

/** What the server knows when it decides. */
export interface PolicyView {
  readonly now: Millis;
  /** The round being run; for asynchronous policies the model version being built. */
  readonly round: Round;
  readonly roundStartedAt: Millis;
  /** Invitations of this round. */
  readonly invited: number;
  /** Updates accepted for the next aggregation. */
  readonly accepted: number;
  /**
   * Invitations of any round that have neither been answered nor given up. In `onUpdate` the arrived one is answered
   * and no longer among them.
   */
  readonly outstanding: number;
}

/** An update that reached the server intact. */
export interface Arrival {
  readonly client: ClientId;
  readonly participation: ParticipationId;
  /** Version the client started from; `view.round − round` is the staleness. */
  readonly round: Round;
}

export type Decision =
  /** Invite up to `count` available, idle clients now. */
  | { readonly type: "invite"; readonly count: number }
  /** Count the arrived update, scaled by `discount`, in the next aggregation. */
  | { readonly type: "accept"; readonly participation: ParticipationId; readonly discount: number }
  /** The arrived update is not wanted. `late`: after its deadline; `rejected`: too stale or not needed. */
  | { readonly type: "refuse"; readonly participation: ParticipationId; readonly as: "late" | "rejected" }
  /** Give up invitations that were sent at or before `sentBefore` and have not been answered. */
  | { readonly type: "give-up"; readonly sentBefore: Millis }
  | { readonly type: "timer"; readonly after: Millis; readonly name: string }
  /** Close the round: aggregate what was accepted, or (`aggregate: false`) leave the adapter as it is. */
  | { readonly type: "close"; readonly aggregate: boolean };

export interface PolicyBehaviour {
  /** A round begins. Invitations of earlier rounds may still be outstanding. */
  onRound(view: PolicyView): readonly Decision[];
  onUpdate(view: PolicyView, arrival: Arrival): readonly Decision[];
  /** A timer set in the *current* round rings; timers of closed rounds are forgotten. */
  onTimer(view: PolicyView, name: string): readonly Decision[];
  /**
   * The round is open but nothing can happen in it any more: no invitation is outstanding and no timer is set, because
   * everyone who was invited was lost. A server that sees such losses calls this instead of waiting for ever.
   */
  onQuiet(view: PolicyView): readonly Decision[];
  /** Asynchronous policies: invitations outlive the round they were sent in. Synchronous ones give them up at close. */
  readonly carriesOver: boolean;
  /** What others may rely on, where it is not what {@link PolicyFacts} says of a policy without. */
  facts?(): Partial<PolicyFacts>;
  /** Why no round could ever come to something with so many clients. */
  problems?(fleetSize: number): readonly Problem[];
}

export type RoundPolicy = Named & PolicyBehaviour;

/** What a policy promises to those who never see it decide. */
export interface PolicyFacts {
  /** Milliseconds after a round's beginning by which every update counted in it has arrived; null without a limit. */
  readonly deadline: number | null;
  /** Milliseconds after which an invitation without an answer is given up; null unless the policy does that. */
  readonly timeout: number | null;
  /** Updates without which a round leaves the adapter as it is; 1 unless given. */
  readonly minUpdates: number;
  /** Clients that a round invites; null where that is no fixed number. */
  readonly invites: number | null;
}

export const factsOf = (policy: RoundPolicy): PolicyFacts => ({
  deadline: null,
  timeout: null,
  minUpdates: 1,
  invites: null,
  ...policy.facts?.(),
});

/** Different clients without which a round comes to nothing. Where clients work on, the same one may be counted twice. */
export const quorumOf = (policy: RoundPolicy): number => (policy.carriesOver ? 1 : factsOf(policy).minUpdates);

/**
 * A server that sets itself no limit has to hear of broken connections, or it would wait for ever. A deadline is no limit
 * to invitations that outlive their round.
 */
export function waitsForAll(policy: RoundPolicy): boolean {
  const { deadline, timeout } = factsOf(policy);
  return timeout === null && (deadline === null || policy.carriesOver);
}

/** What the fields of a scenario's rounds say of their size. */
export interface RoundSize {
  readonly cohort: number;
  readonly deadline: number | null;
  readonly minUpdates: number;
  readonly overSelection: number;
}

export interface PolicyDefinition<Type extends string, Shape extends z.ZodRawShape>
  extends Definition<Type, Shape, PolicyBehaviour>,
    Described {
  /** Options that make it as large as rounds of this size: what its bare name means to a stress test. */
  readonly sizedLike: (rounds: RoundSize) => Readonly<Record<string, unknown>>;
}

export const definePolicy = <const Type extends string, Shape extends z.ZodRawShape>(
  definition: PolicyDefinition<Type, Shape>,
): Factory<Type, Shape, RoundPolicy> & Pick<PolicyDefinition<Type, Shape>, "sizedLike"> =>
  Object.assign(define("policy", definition, nothing), { sizedLike: definition.sizedLike });
