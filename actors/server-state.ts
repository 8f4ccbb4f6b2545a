/** What the server knows between its turns, what it is given, and the working copy a turn changes. */
import * as z from "zod";
import { whole, wholeAs } from "../src/base/fields.ts";
import { type ClientId, type ParticipationId, type Round, round as roundOf } from "../src/base/ids.ts";
import { type Millis, millis } from "../src/base/units.ts";
import type { Charge, ChargeOf } from "../src/fl/charge.ts";
import { type Kind, plainSchema } from "../src/fl/plan.ts";
import type { RoundPolicy } from "../src/fl/policy.ts";
import type { RescalerBook } from "../src/fl/rescaler.ts";
import type { Candidates, ClientSampler, History } from "../src/fl/sampler.ts";
import type { Strategy } from "../src/fl/strategy.ts";
import type { CheckedTask } from "../src/fl/update.ts";
import type { BudgetMetrics } from "../src/records/metrics.ts";
import { type Standing, standingSchema } from "../src/records/stopping.ts";
import { type ActorEvent, after, type Effect, type TurnContext } from "../src/runtime/actor.ts";
import { appended, none } from "../src/runtime/messages/lists.ts";
import { type Held, heldSchema, pledgeSchema } from "../src/runtime/messages/refs.ts";
import type { Fleet } from "../src/sim/fleet/fleet.ts";
import type { Environment } from "../src/sim/flight/environment.ts";
import type { OpenedTask } from "../src/tasks/kind.ts";
import type { Setting } from "../src/tasks/task.ts";
import type { Shard } from "./evaluator.ts";
import type { ServerEvent, ServerMessage } from "./protocol.ts";
import type { MethodRecipe, Trained } from "./recipes.ts";
import type { Roster } from "./roster.ts";
import { storedMemorySchema, storedPlanSchema, storedVectorsSchema } from "./storage.ts";

/** An invitation without an answer. */
const invitationSchema = z.strictObject({
  participation: wholeAs<ParticipationId>(),
  client: wholeAs<ClientId>(),
  round: wholeAs<Round>(),
  sentAt: wholeAs<Millis>(),
  /** What the client starts from. */
  base: heldSchema,
  /** What it was asked to do; absent for plain training. */
  plan: storedPlanSchema.exactOptional(),
});
export type Invitation = Readonly<z.output<typeof invitationSchema>>;

/** An update that will be counted when the round closes. */
const acceptedSchema = invitationSchema.extend({ result: pledgeSchema<Trained>(), discount: z.number() });
export type Accepted = Readonly<z.output<typeof acceptedSchema>>;

const bestSchema = z.strictObject({
  adapter: heldSchema,
  /** s of each budget, one factor a layer. */
  rescalers: z.array(z.strictObject({ topK: whole, factors: z.array(z.number()) })).readonly(),
});
export type Best = Readonly<z.output<typeof bestSchema>>;

/** How evaluations have gone, and the best adapter with its rescalers: what an early end leaves besides. */
const courseSchema = z.strictObject({ standing: standingSchema, best: bestSchema.nullable() });

export const serverSchema = z.strictObject({
  phase: z.enum(["new", "gathering", "open", "finished"]),
  round: wholeAs<Round>(),
  /** When the server began to look for clients, and when the round was opened. */
  gatheringSince: wholeAs<Millis>(),
  startedAt: wholeAs<Millis>(),
  /** When an invitation was last answered, readable or not. */
  lastHeard: wholeAs<Millis>(),
  invited: whole,
  nextParticipation: whole,
  /** In no order; see `outstanding.ts`. */
  outstanding: z.array(invitationSchema),
  accepted: z.array(acceptedSchema),
  /** Invitations the policy asked for last and nobody was there to take. */
  wanted: whole,
  /** Timers of this round that have not rung. */
  timers: whole,
  isRetrying: z.boolean(),
  adapter: heldSchema,
  /** What the strategy keeps with the model. */
  vectors: storedVectorsSchema,
  notes: plainSchema,
  /**
   * Each client's own, by its number: written when an update of it is counted. In reality it never leaves the device, so
   * it is not on the wire.
   */
  memories: z.record(z.string(), storedMemorySchema),
  /** What the sampler remembers from its last selection; null for one that remembers nothing. */
  memory: z.unknown(),
  /** Of a run that may end early: how its evaluations have gone; null before the first, and in any other run. */
  course: courseSchema.nullable(),
});
export type ServerState = Readonly<z.output<typeof serverSchema>>;

/** The rule, and what is measured for it. */
export interface Stopping {
  readonly shards: readonly Shard[];
  /** How things stand after an evaluation. */
  judge(before: Standing | undefined, round: Round, evaluations: readonly BudgetMetrics[]): Standing;
  /** Those of the present. */
  rescalers(): Best["rescalers"];
}

/** What a server that trains a model needs besides. */
export interface Learning {
  readonly task: CheckedTask & Pick<OpenedTask, "layers" | "experts">;
  readonly rescalers: RescalerBook;
  /** Budgets the global model is evaluated at, largest first. */
  readonly budgets: readonly number[];
  /** The parameters of round 0, made when they are asked for: with a large model they are much to hold. */
  readonly initial: () => Float32Array;
  /** Fewer good updates than this leave the adapter as it is. */
  readonly minUpdates: number;
  /** The run is only played ahead: messages weigh what they will, and no update is opened. */
  readonly isAhead?: boolean;
  /** When the run ends before its last round; absent where nothing but their number ends it. */
  readonly stopping?: Stopping;
}

export interface ServerServices {
  readonly rounds: number;
  readonly policy: RoundPolicy;
  readonly sampler: ClientSampler;
  readonly fleet: Fleet;
  readonly roster: Roster;
  readonly environment: Pick<Environment, "isAvailable" | "nextAvailability" | "traffic">;
  /** Clients without which a round is not opened. */
  readonly leastClients: number;
  readonly minimumGap: number;
  /** How long a round goes on without hearing of any client before it is closed as it is. */
  readonly patience: Millis;
  readonly evaluateEvery: number;
  /** Share of its local steps that a client takes; absent when everybody takes all. */
  readonly effortOf?: (client: ClientId, round: Round, charge: () => Charge) => number;
  /** Size of a message with the adapter in runs without training. */
  readonly downloadBytes: number;
  readonly method: Method;
  /** Null in runs without training. */
  readonly learning: Learning | null;
}

/** The strategy and what it sees. */
export interface Method {
  readonly strategy: Strategy;
  /** What it sees of the run in a round. */
  settingIn(round: Round): Setting;
  /** Whether its learning rate changes from round to round. */
  readonly isScheduled?: boolean;
  readonly charge: ChargeOf;
  /** The programs of a kind of plan, with a scope or without, made when they are first asked for. */
  programs(kind: Kind, scoped: boolean): Pick<MethodRecipe, "step" | "before" | "after" | "validate">;
}

export type ServerContext = TurnContext<ServerServices>;

/**
 * What a turn changes. It takes the lists over from the state it began with instead of copying them, or a round would
 * cost the square of its cohort; a turn of the server runs once and nobody looks at the old state again.
 */
export type Draft = { -readonly [Field in keyof ServerState]: ServerState[Field] } & {
  effects: Effect<ServerMessage>[];
  /** Set when the policy has closed the round and the turn has yet to carry it out. */
  closing: { readonly aggregate: boolean } | null;
  /** Clients were wanted in this turn, and none will ever come. */
  isDeserted: boolean;
};

/** The state before `begin`; the run then hands over the adapter. */
export const newServer = (adapter: Held): ServerState => ({
  phase: "new",
  round: roundOf(0),
  gatheringSince: millis(0),
  startedAt: millis(0),
  lastHeard: millis(0),
  invited: 0,
  nextParticipation: 0,
  outstanding: [],
  accepted: [],
  wanted: 0,
  timers: 0,
  isRetrying: false,
  adapter,
  vectors: {},
  notes: null,
  memories: {},
  memory: null,
  course: null,
});

export function effect(draft: Draft, asked: Effect<ServerMessage>): void {
  draft.effects = appended(draft.effects, asked);
}

export const emit = (ctx: ServerContext, event: ServerEvent & ActorEvent): void => ctx.emit(event);

/** Field by field, as below: spreading an object of this size takes many times longer, and every turn does both. */
export const draftOf = (state: ServerState): Draft => ({
  phase: state.phase,
  round: state.round,
  gatheringSince: state.gatheringSince,
  startedAt: state.startedAt,
  lastHeard: state.lastHeard,
  invited: state.invited,
  nextParticipation: state.nextParticipation,
  outstanding: state.outstanding,
  accepted: state.accepted,
  wanted: state.wanted,
  timers: state.timers,
  isRetrying: state.isRetrying,
  adapter: state.adapter,
  vectors: state.vectors,
  notes: state.notes,
  memories: state.memories,
  memory: state.memory,
  course: state.course,
  effects: none,
  closing: null,
  isDeserted: false,
});

export const stateOf = (draft: Draft): ServerState => ({
  phase: draft.phase,
  round: draft.round,
  gatheringSince: draft.gatheringSince,
  startedAt: draft.startedAt,
  lastHeard: draft.lastHeard,
  invited: draft.invited,
  nextParticipation: draft.nextParticipation,
  outstanding: draft.outstanding,
  accepted: draft.accepted,
  wanted: draft.wanted,
  timers: draft.timers,
  isRetrying: draft.isRetrying,
  adapter: draft.adapter,
  vectors: draft.vectors,
  notes: draft.notes,
  memories: draft.memories,
  memory: draft.memory,
  course: draft.course,
});

/** Real clients check in a few times a minute at most; so does a server that looks for them. */
const retryInterval = 10_000;

/**
 * Looks for clients again when one may have come back.
 *
 * @returns false if none ever will: nobody is busy, and nobody who is away comes back
 */
export function retryLater(draft: Draft, ctx: ServerContext): boolean {
  if (draft.isRetrying) return true;
  const { environment, patience, roster } = ctx.services;
  const soonest = environment.nextAvailability();
  if (soonest === null && roster.busy === 0) return false;
  draft.isRetrying = true;
  const least = ctx.now + retryInterval;
  const latest = Math.max(least, quietSince(draft) + patience);
  const at = Math.min(Math.max(soonest ?? ctx.now, least), latest);
  effect(draft, after(millis(at - ctx.now), { type: "retry", of: draft.round }));
  return true;
}

/** Since when the server has been looking for clients, or in an open round has not heard of any. */
export const quietSince = ({ phase, gatheringSince, startedAt, lastHeard }: Draft): number =>
  phase === "open" ? Math.max(startedAt, lastHeard) : gatheringSince;

/** Whom a sampler may choose from now. */
export const candidatesOf = ({ round, memory }: Draft, { services }: ServerContext): Candidates =>
  new Available(round, memory, services);

class Available implements Candidates {
  readonly fleet: Fleet;
  readonly round: Round;
  readonly history: History;
  declare readonly state?: unknown;
  readonly #services: ServerServices;

  constructor(round: Round, memory: unknown, services: ServerServices) {
    this.fleet = services.fleet;
    this.round = round;
    this.history = services.roster.history;
    if (memory !== null) this.state = memory;
    this.#services = services;
  }

  /** A property: authors of samplers take what they are given apart. */
  readonly isEligible = (client: ClientId): boolean => {
    const { roster, environment, minimumGap } = this.#services;
    if (!roster.isIdle(client)) return false;
    const isRested = minimumGap === 0 || roster.roundsSinceInvited(client, this.round) > minimumGap;
    return isRested && environment.isAvailable(client);
  };
}
