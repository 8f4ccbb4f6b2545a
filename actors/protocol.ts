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
import * as z from "zod";
import { floats, positive, whole, wholeAs } from "../src/base/fields.ts";
import type { ClientId, ParticipationId, Round } from "../src/base/ids.ts";
import type { Millis } from "../src/base/units.ts";
import { heldSchema, type PledgeRef, pledgeSchema, type Ref } from "../src/runtime/messages/refs.ts";
import type { Stage } from "../src/sim/flight/stages.ts";
import type { Evaluation } from "../src/tasks/training-engine.ts";
import { evaluatedSchema, methodOrderSchema, type Trained } from "./recipes.ts";

const ofParticipation = { round: wholeAs<Round>(), participation: wholeAs<ParticipationId>() };

export const clientMessageSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("train"),
    ...ofParticipation,
    /** The global adapter; in runs without training something of its size that nobody ever opens. */
    adapter: heldSchema,
    /** s to start from, for a client that has none of its own yet; null without training. */
    rescaler: floats.nullable(),
    /** Share of its local steps that the client takes, in (0, 1]; absent for all of them. */
    effort: positive.exactOptional(),
    /** What the strategy has this client do besides; absent for plain training. */
    method: z
      .strictObject({
        /** Null in runs without training. */
        order: methodOrderSchema.nullable(),
        /** What the update weighs. */
        uploadBytes: whole,
        /** What the report weighs that goes ahead of it; absent where none does. */
        reportBytes: whole.exactOptional(),
        /** How long all of it keeps the client's device busy, undisturbed. */
        takes: wholeAs<Millis>(),
      })
      .exactOptional(),
  }),
  /** What the server says to a report. */
  z.strictObject({
    type: z.literal("answer"),
    ...ofParticipation,
    /** The client's own, given back: it need not remember what it is about to send. */
    result: pledgeSchema<Trained>(),
    /** What the update weighs. */
    uploadBytes: whole,
  }),
  /** The update was counted: what the client learned for itself is now its own. */
  z.strictObject({ type: z.literal("acknowledge"), ...ofParticipation, rescaler: floats.nullable() }),
]);
export type ClientMessage = Readonly<z.output<typeof clientMessageSchema>>;

export const serverMessageSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("begin") }),
  /** A few numbers about an update that is to follow. */
  z.strictObject({
    type: z.literal("report"),
    ...ofParticipation,
    client: wholeAs<ClientId>(),
    result: pledgeSchema<Trained>(),
  }),
  /** The trained adapter and what goes with it: decided, weighed, and not yet computed. */
  z.strictObject({ type: z.literal("update"), ...ofParticipation, result: pledgeSchema<Trained>() }),
  /** Stands for an update whose bytes arrived damaged. */
  z.strictObject({ type: z.literal("unreadable"), ...ofParticipation }),
  /** The connection to a client broke. Servers that wait for everyone have to know. */
  z.strictObject({ type: z.literal("gone"), of: wholeAs<ParticipationId>() }),
  z.strictObject({ type: z.literal("timer"), of: wholeAs<Round>(), name: z.string() }),
  /** There may be clients to invite now. */
  z.strictObject({ type: z.literal("retry"), of: wholeAs<Round>() }),
]);
export type ServerMessage = Readonly<z.output<typeof serverMessageSchema>>;

/** A client's own model, where the method has such, and that of its budget. */
const ownModelSchema = z.strictObject({
  client: wholeAs<ClientId>(),
  own: evaluatedSchema.exactOptional(),
  shared: evaluatedSchema,
});
export type OwnModel = Readonly<z.output<typeof ownModelSchema>>;

export const evaluatorMessageSchema = z.strictObject({
  type: z.literal("evaluate"),
  of: wholeAs<Round>(),
  /** What runs at each budget, largest budget first. */
  budgets: z.array(evaluatedSchema.extend({ budget: whole })).readonly(),
  /** In the last round, of methods with models for single clients. */
  clients: z.array(ownModelSchema).readonly().exactOptional(),
});
export type EvaluatorMessage = Readonly<z.output<typeof evaluatorMessageSchema>>;

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
      /** What the strategy says of the round besides. */
      readonly method?: Readonly<Record<string, number>>;
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
