/** Who is invited. A sampler picks among clients that are available and idle. */
import type * as z from "zod";
import type { ClientId, Round } from "../base/ids.ts";
import type { Problem } from "../base/problem.ts";
import type { Draws } from "../base/random.ts";
import type { Fleet } from "../sim/fleet/fleet.ts";
import { type Definition, type Described, define, type Factory, type Named, nothing } from "./define.ts";

/** What guided samplers remember of each client, as columns over the fleet; NaN or 0 where nothing is known. */
export interface History {
  /** Round of the last counted update; 0 = never. */
  readonly lastCounted: Uint32Array;
  readonly timesInvited: Uint32Array;
  readonly timesCounted: Uint32Array;
  /** Duration of the last answered invitation, in milliseconds of virtual time; NaN = unknown. */
  readonly duration: Float64Array;
  /** Mean training loss of the last counted update, in nats; NaN = unknown. */
  readonly loss: Float64Array;
}

export interface Candidates<State = unknown> {
  readonly fleet: Fleet;
  readonly round: Round;
  readonly history: History;
  /** What the sampler's last `nextState` returned; absent before the first selection. */
  readonly state?: State;
  /** Available, idle, and past its minimum gap. */
  isEligible(client: ClientId): boolean;
}

export interface SamplerBehaviour<State = unknown> {
  /** True when `select` reads `history.loss`: the server then opens updates before it invites again. */
  readonly needsLosses: boolean;
  /** At most `count` distinct eligible clients, ascending by id; fewer when fewer are eligible. */
  select(candidates: Candidates<State>, count: number, draws: Draws): ClientId[];
  /**
   * For samplers that remember more than the history: plain data for the next selection's `state`, after `chosen` were
   * selected from `candidates`. Changes nothing itself.
   */
  nextState?(candidates: Candidates<State>, chosen: readonly ClientId[]): State;
  /** Why no round could ever bring so many clients together. */
  problems?(fleet: Fleet, needed: number): readonly Problem[];
}

export type ClientSampler<State = unknown> = Named & SamplerBehaviour<State>;

export const defineSampler = <const Type extends string, Shape extends z.ZodRawShape, State>(
  definition: Definition<Type, Shape, SamplerBehaviour<State>> & Described,
): Factory<Type, Shape, ClientSampler<State>> => define("sampler", definition, nothing);
