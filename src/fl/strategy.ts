/**
 * A federated method: what a client is asked to do, and what the server makes of what comes back.
 *
 *   plan ──▶ steps (graph pieces, trained by the engine) ──▶ reply ──▶ begin, fold …, finish
 *
 * Every function is pure: what is remembered lies in {@link ServerState} and {@link ClientMemory}, as plain data. A
 * *plan* is made when a client is invited, from what is known then, so that the bytes it moves and the time it takes are
 * known before anything is trained. A *reply* is worked out when the server opens the update; memory is kept only when
 * the update is counted. Updates fold in ascending order of participation, in float64.
 */
import type { ClientId, Round } from "../base/ids.ts";
import type { Problem } from "../base/problem.ts";
import type { Draws } from "../base/random.ts";
import type { ParameterLayout } from "../tasks/layout.ts";
import type { Steps } from "../tasks/steps.ts";
import type { Ability, Affordable, KeyedDraws, Setting, TaskShape } from "../tasks/task.ts";
import type { Named } from "./define.ts";
import type { Deployment } from "./deployment.ts";
import type { ClientMemory, ClientView, Invited, Kind, Plain, Plan, Vectors } from "./plan.ts";
import type { Trained, Update } from "./update.ts";
import type { AskForWork } from "./works.ts";

export interface ServerState {
  readonly parameters: Float32Array;
  readonly vectors: Vectors;
  readonly notes: Plain;
}

export interface Reply {
  /** What is sent in place of the trained values. */
  readonly values?: Float32Array;
  readonly sent?: Readonly<Record<string, number | Float64Array>>;
  /** Groups that a step moved, `[groups]`, where not all that were used did. */
  readonly trained?: Uint8Array;
  readonly memory?: ClientMemory;
}

export interface At {
  readonly round: Round;
  readonly draws: KeyedDraws;
}

export interface Finishing extends At {
  /** Heavy arithmetic by name, done by a worker: see `works.ts`. */
  readonly work: AskForWork;
}

/** The server's part. */
export interface Aggregation<Sum = unknown> {
  /**
   * `stream` unless given: of an update that was folded nothing is kept, so that the server needs no more memory for a
   * larger cohort. `all`: the sum keeps the updates until the round ends.
   */
  readonly folding?: "stream" | "all";
  /**
   * `deltas` unless given. Sums of `products` B·A are no step of the parameters, so that nothing can be made of one; with
   * `each` the server works on every client's delta, and their sum alone would not do; with `bounded` no more of a client may
   * reach the model than that sum lets through.
   */
  readonly sums?: "deltas" | "products" | "each" | "bounded";
  /** Whether a round is finished with however few updates, or none, where how many came must not show. */
  readonly finishesAlways?: boolean;
  /** Unnormalised weight of an update for a group of the layout, ≥ 0. */
  weight(update: Update, group: number, layout: ParameterLayout): number;
  begin(server: ServerState, setting: Setting): Sum;
  fold(sum: Sum, update: Update, setting: Setting, at: At): void;
  /** A group whose weights sum to zero keeps its values bit for bit. */
  finish(sum: Sum, server: ServerState, setting: Setting, at: Finishing): ServerState | Promise<ServerState>;
  /** What of a round the metrics are to have besides, by name: finite numbers. */
  report?(after: ServerState, before: ServerState, setting: Setting): Readonly<Record<string, number>>;
}

/** Whom a sampler of a strategy may choose from. */
export interface Choice {
  readonly round: Round;
  /** Available, idle, and past their minimum gap; ascending. */
  readonly eligible: readonly ClientId[];
  readonly count: number;
  /** What the selection before this one returned; null before the first. */
  readonly memory: Plain;
  /** Without vectors and parameters in runs without training. */
  readonly server: ServerState;
}

export interface Chosen {
  /** In the order in which they are invited. */
  readonly clients: readonly { readonly client: ClientId; readonly notes?: Plain }[];
  readonly memory: Plain;
}

export interface StrategySampler {
  /** Whether it may choose fewer than `count`, and nobody is invited in their place. */
  readonly fewer?: boolean;
  /** `count` distinct eligible clients, or all where there are fewer; with each what its plan is to know. */
  select(from: Choice, setting: Setting, draws: Draws): Chosen;
}

/** How a scenario's rounds find their clients. */
export interface Inviting {
  /** Clients that a round invites; null where that is no fixed number. */
  readonly invites: number | null;
  /** Whether clients work on when a round ends. */
  readonly carriesOver: boolean;
  /** Rounds that a client sits out after it was invited. */
  readonly minimumGap: number;
  /** The type of the scenario's sampler: `uniform`. */
  readonly sampler: string;
}

export interface Method<Sum = unknown> extends Aggregation<Sum> {
  /** What it asks of the task, beside parameters in groups. */
  readonly needs?: readonly Ability[];
  /** What of its options does not fit the scenario; asked before a run. */
  problems?(setting: Setting): readonly Problem[];
  /** What of its options says otherwise of who takes part than the scenario; asked before a run. */
  participationProblems?(setting: Setting, inviting: Inviting): readonly Problem[];
  /** Why its rule comes to nothing where so many updates are counted in a round, in a sentence; null where it does not. */
  idle?(updates: number): string | null;
  init?(setting: Setting): Pick<ServerState, "vectors" | "notes">;
  /** Chooses whom to invite, in the place of the scenario's sampler. */
  readonly sampler?: StrategySampler;
  /**
   * Whether a round goes before round 1, in which everybody within reach takes part and is waited for: a warm-up,
   * statistics. Clients and server know it as round 0, and the run's row 0, the base model, says what it took.
   */
  readonly prelude?: boolean;
  plan?(client: Invited, server: ServerState, setting: Setting): Plan;
  /** Its objective is not made of the examples' loss, so that none of them can weigh more in it. */
  readonly ownObjective?: boolean;
  /** Called once for each kind in a run, so that no learning rate is known: the engine feeds that of the round. */
  steps?(kind: Kind, setting: Omit<Setting, "rate" | "rateFactor">): Steps;
  reply?(trained: Trained, plan: Plan, client: ClientView, setting: Setting): Reply;
  /** What it has a task train besides its usual parameters, or in their place; and how many models. */
  readonly shape?: TaskShape;
  /**
   * Share of its examples, in [0, 1), that each client keeps from training, the same in every round; steps validate with
   * them. Of two examples or more at least one is kept and one is not; a single one is both.
   */
  readonly validation?: number;
  /** What is evaluated at a budget: the global model with the variant of that budget unless given. */
  deploy?(budget: number, server: ServerState, setting: Affordable): Deployment;
  /**
   * A client's own model, where it has one: evaluated in the end on the examples that it keeps from training, beside the
   * model of its budget.
   */
  deployTo?(client: ClientView, server: ServerState, setting: Setting): Deployment;
}

export type Strategy<Sum = unknown> = Named & Method<Sum>;
