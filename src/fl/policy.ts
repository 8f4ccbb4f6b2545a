/**
 * When to invite, what to count, when to close: the server's round policy as pure functions of what the server can see.
 *
 * A policy reacts to three things (a round begins, an update arrives, a timer rings) with decisions the server carries
 * out in order. It keeps no state of its own; what it needs is in the view. A policy is one file.
 */
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";
import type { Millis } from "../base/units.ts";

export type PolicySpec = { readonly type: string } & Readonly<Record<string, unknown>>;

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

export interface RoundPolicy {
  readonly name: string;
  readonly spec: PolicySpec;
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
}
