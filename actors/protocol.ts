/**
 * What the actors say to each other, and what they tell onlookers.
 *
 *             train                          evaluate
 *   server ──────────▶ client      server ──────────────▶ evaluator
 *          ◀──────────
 *            report        where the plan asks for a preliminary exchange
 *          ──────────▶
 *            answer
 *          ◀──────────
 *            update
 *          ──────────▶
 *          acknowledge
 */
import type { ClientId, ParticipationId, Round } from "../src/base/ids.ts";
import type { Millis } from "../src/base/units.ts";
import type { Held, PledgeRef, Ref } from "../src/runtime/messages/refs.ts";
import type { Stage } from "../src/sim/flight/stages.ts";
import type { Evaluation } from "../src/tasks/training-engine.ts";
import type { Evaluated, MethodOrder, Trained } from "./training.ts";

export type ClientMessage =
  | {
      readonly type: "train";
      readonly round: Round;
      readonly participation: ParticipationId;
      /** The global adapter; in runs without training something of its size that nobody ever opens. */
      readonly adapter: Held;
      /** s to start from, for a client that has none of its own yet; null without training. */
      readonly rescaler: Float32Array | null;
      /** Share of its local steps that the client takes, in (0, 1]; absent for all of them. */
      readonly effort?: number;
      /** What the strategy has this client do besides; absent for plain training. */
      readonly method?: {
        /** Null in runs without training. */
        readonly order: MethodOrder | null;
        /** What the update weighs. */
        readonly uploadBytes: number;
        /** What the report weighs that goes ahead of it; absent where none does. */
        readonly reportBytes?: number;
        /** How long all of it keeps the client's device busy, undisturbed. */
        readonly takes: Millis;
      };
    }
  /** What the server says to a report. */
  | {
      readonly type: "answer";
      readonly round: Round;
      readonly participation: ParticipationId;
      /** The client's own, given back: it need not remember what it is about to send. */
      readonly result: PledgeRef<Trained>;
      /** What the update weighs. */
      readonly uploadBytes: number;
    }
  /** The update was counted: what the client learned for itself is now its own. */
  | {
      readonly type: "acknowledge";
      readonly round: Round;
      readonly participation: ParticipationId;
      readonly rescaler: Float32Array | null;
    };

export type ServerMessage =
  | { readonly type: "begin" }
  /** A few numbers about an update that is to follow. */
  | {
      readonly type: "report";
      readonly round: Round;
      readonly participation: ParticipationId;
      readonly client: ClientId;
      readonly result: PledgeRef<Trained>;
    }
  | {
      readonly type: "update";
      readonly round: Round;
      readonly participation: ParticipationId;
      /** The trained adapter and what goes with it: decided, weighed, and not yet computed. */
      readonly result: PledgeRef<Trained>;
    }
  /** Stands for an update whose bytes arrived damaged. */
  | { readonly type: "unreadable"; readonly round: Round; readonly participation: ParticipationId }
  /** The connection to a client broke. Servers that wait for everyone have to know. */
  | { readonly type: "gone"; readonly of: ParticipationId }
  | { readonly type: "timer"; readonly of: Round; readonly name: string }
  /** There may be clients to invite now. */
  | { readonly type: "retry"; readonly of: Round };

export interface EvaluatorMessage {
  readonly type: "evaluate";
  readonly of: Round;
  /** What runs at each budget, largest budget first. */
  readonly budgets: readonly ({ readonly budget: number } & Evaluated)[];
  /** In the last round, of methods with models for single clients. */
  readonly clients?: readonly OwnModel[];
}

/** A client's own model, where the method has such, and that of its budget. */
export interface OwnModel {
  readonly client: ClientId;
  readonly own?: Evaluated;
  readonly shared: Evaluated;
}

export const serverRef: Ref<ServerMessage> = { kind: "server", id: 0 };
export const evaluatorRef: Ref<EvaluatorMessage> = { kind: "evaluator", id: 0 };
export const clientRef = (client: ClientId): Ref<ClientMessage> => ({ kind: "client", id: client });

/** What the server counted when it closed a round. */
export interface Count {
  readonly participation: ParticipationId;
  readonly client: ClientId;
  /** Mean aggregation weight over experts; over all clients of a round they sum to 1. */
  readonly weight: number;
}

export type ServerEvent =
  | { readonly type: "round-began"; readonly round: Round; readonly at: Millis }
  | {
      readonly type: "invited";
      readonly participation: ParticipationId;
      readonly client: ClientId;
      readonly round: Round;
      /** What it is asked to do: at this budget, for so long on its undisturbed device, with so many bytes both ways. */
      readonly budget: number;
      readonly takes: number;
      readonly bytes: number;
      /** Stages that its plan asks for besides. */
      readonly asks?: readonly Stage[];
    }
  | { readonly type: "accepted"; readonly participation: ParticipationId }
  | {
      readonly type: "refused";
      readonly participation: ParticipationId;
      readonly as: "late" | "rejected";
      readonly reason: string;
    }
  | { readonly type: "gave-up"; readonly participation: ParticipationId }
  | { readonly type: "counted"; readonly participation: ParticipationId; readonly client: ClientId }
  | {
      readonly type: "round-closed";
      readonly round: Round;
      readonly startedAt: Millis;
      readonly aggregated: boolean;
      readonly counts: readonly Count[];
      /** Mean training loss over counted updates, in nats; null without training or updates. */
      readonly trainLoss: number | null;
      /** The clients' in this round, where a schedule changes it. */
      readonly learningRate?: number;
      /** Tokens routed to each expert over counted updates; null without training. */
      readonly expertTokens: Float64Array | null;
      readonly distinctClients: number;
      /** Bytes sent since the run began. */
      readonly downloadBytes: number;
      readonly uploadBytes: number;
      /** An `evaluating` event of the same round follows. */
      readonly evaluated: boolean;
      readonly isLast: boolean;
    };

export interface EvaluatorEvent {
  readonly type: "evaluating";
  readonly round: Round;
  readonly evaluations: readonly { readonly budget: number; readonly shards: readonly PledgeRef<Evaluation>[] }[];
  readonly clients?: readonly {
    readonly client: ClientId;
    readonly own?: PledgeRef<Evaluation>;
    readonly shared: PledgeRef<Evaluation>;
  }[];
}

export type FederationEvent = ServerEvent | EvaluatorEvent;
