/**
 * An actor is a state and turns. A turn takes one message and gives the next state and what is to be sent; it commits
 * when it ends, all of it or nothing: a turn that a simulated crash cuts off never happened, and the actor goes on with
 * the state it had. Everything else an actor sees, it sees through its context, so a test of an actor
 * is a function call.
 */
import type * as z from "zod";
import type { ParticipationId, Round } from "../base/ids.ts";
import type { Rng } from "../base/random.ts";
import type { Millis } from "../base/units.ts";
import type { MessageStage } from "../sim/flight/stages.ts";
import type { BlobReader } from "./messages/blobs.ts";
import type { BlobRef, Held, PledgeRef, Protocol, Ref } from "./messages/refs.ts";
import type { Recipe } from "./pledges.ts";

export type Effect<Own extends Protocol = never> =
  | { readonly type: "send"; readonly to: Ref; readonly message: Protocol }
  | { readonly type: "after"; readonly duration: Millis; readonly message: Own };

/** How a turn ends. `Own` are the messages the actor sends itself later. */
export interface Next<State, Own extends Protocol = never> {
  readonly state: State;
  readonly effects: readonly Effect<Own>[];
}

/** The turn ends with this state. The same object as before means that nothing changed. */
export function next<State, const Own extends Protocol = never>(
  state: State,
  ...effects: readonly Effect<Own>[]
): Next<State, Own> {
  return { state, effects };
}

/** Leaves when the turn commits, after the effects before it. */
export const send = <Message extends Protocol>(to: Ref<Message>, message: NoInfer<Message>): Effect => ({
  type: "send",
  to,
  message,
});

/** Comes back to the actor itself after `duration`. */
export const after = <const Own extends Protocol>(duration: Millis, message: Own): Effect<Own> => ({
  type: "after",
  duration,
  message,
});

/** Something that happened, for onlookers; plain data that nobody changes once it is emitted. */
export interface ActorEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/**
 * What an actor may use during a turn, and not after it.
 *
 * What a turn puts, pledges or receives lives until the turn ends. Content that is sent on lives on with the message;
 * content the actor wants to use in a later turn it keeps, and discards when it is done.
 */
export interface TurnContext<Services = unknown> extends BlobReader {
  readonly now: Millis;
  readonly self: Ref;
  readonly rng: Rng;
  readonly services: Services;
  put(content: Uint8Array | Float32Array): BlobRef;
  /** Promises the result of some work without doing it. */
  pledge<Result>(recipe: Recipe): PledgeRef<Result>;
  /** Lets the work of a pledge begin where there is room, without waiting for it. */
  start(pledge: PledgeRef): void;
  /** Has the work of all pledges done, in parallel and each once; results in the order of `pledges`. */
  open<Result>(pledges: readonly PledgeRef<Result>[]): Promise<Result[]>;
  /** The same one result after the other, a few worked out ahead and none kept. */
  openEach<Result>(pledges: readonly PledgeRef<Result>[]): AsyncIterable<Result>;
  /** Holds content beyond this turn, once for every call. */
  keep<Content extends Held>(content: Content): Content;
  /** Undoes one `keep` when the turn commits. */
  discard(content: Held): void;
  /** Tells the onlookers when the turn commits. */
  emit(event: ActorEvent): void;
}

/** A message that arrived with bytes that cannot be trusted; what is known of it is what the transport knew. */
interface Damage {
  readonly from: Ref;
  readonly stage: MessageStage | null;
  readonly round: Round | null;
  readonly participation: ParticipationId | null;
}

export interface ActorDefinition<State, Message extends Protocol, Services = unknown> {
  readonly kind: string;
  /**
   * `server`: at home, few, and kept in memory. `device`: a client at the far end of the simulated network, whose turns
   * can be cut off; between turns it is bytes, or nothing while its state is still its first. Default `server`.
   */
  readonly runsOn?: "server" | "device";
  /** What a checkpoint may say of its state and of messages to it; unchecked unless given. */
  readonly schemas?: { readonly state: z.ZodType<State>; readonly message: z.ZodType<Message> };
  /** The stage of a participation that the message is over the network. */
  stage?(message: Message): MessageStage;
  /** Virtual time the message keeps this actor busy, known before the work begins; whole milliseconds. */
  cost?(state: State, message: Message, services: Services): Millis;
  /** One turn. Only turns that open pledges need to be asynchronous. */
  receive(
    state: State,
    message: Message,
    context: TurnContext<Services>,
  ): Next<State, Message> | Promise<Next<State, Message>>;
  /** The message the actor is given in place of a damaged one; without it, damaged messages are not heard. */
  corrupted?(damage: Damage): Message | null;
}

/** States the three types of an actor and lets the compiler work out the rest. */
export function defineActor<State, Message extends Protocol, Services = unknown>(
  definition: ActorDefinition<State, Message, Services>,
): ActorDefinition<State, Message, Services> {
  return definition;
}

/** @internal */
export const refTo = <State, Message extends Protocol, Services>(
  { kind }: ActorDefinition<State, Message, Services>,
  id = 0,
): Ref<Message> => ({ kind, id });

/** An actor with what it needs to live in a system. */
export interface Registration {
  readonly definition: ActorDefinition<unknown, Protocol, unknown>;
  readonly hydrate: (id: number) => unknown;
  readonly services: unknown;
}

/**
 * @param hydrate the first state of actor `id`: a function of `id` alone, so that an actor nobody wrote to needs no
 *   memory
 */
export function registration<State, Message extends Protocol, Services>(
  definition: ActorDefinition<State, Message, Services>,
  { hydrate, services }: { readonly hydrate: (id: number) => State; readonly services: Services },
): Registration {
  return { definition: definition as unknown as Registration["definition"], hydrate, services };
}
