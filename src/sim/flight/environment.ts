/**
 * The physical side of the simulation as the actors' runtime sees it: messages take time and may be lost, work takes
 * time and may be cut off. Everything here is decided by the scenario and keyed randomness, never by what is learned.
 *
 * The runtime hands over transfers and computations with a ticket; the environment schedules its own kernel events and
 * answers through the {@link Outlet} when virtual time gets there. Every ticket is answered: by `arrived` (once or,
 * for a duplicated message, more than once), `computed`, or `lost`, exactly one of the last two kinds of ending.
 */
import type { ClientId, ParticipationId, Round } from "../../base/ids.ts";
import type { Snapshot } from "../../base/snapshot.ts";
import type { Millis } from "../../base/units.ts";
import type { MessageStage, Phase, Stage } from "./stages.ts";

/** Something that is to be under way, and what it belongs to. */
export interface Order {
  readonly ticket: number;
  readonly client: ClientId;
  readonly participation: ParticipationId;
  readonly round: Round;
}

export interface Transfer extends Order {
  readonly stage: MessageStage;
  /** Envelope and the blobs it references, exactly as they would go over the wire. */
  readonly bytes: number;
}

export interface Computation extends Order {
  /** What the work takes on an undisturbed device. */
  readonly duration: Millis;
}

/** What may have happened to a message that did arrive. */
export type Condition = "intact" | "corrupted";

export interface Loss {
  readonly client: ClientId;
  readonly participation: ParticipationId;
  readonly round: Round;
  readonly phase: Phase;
  /** A short word for reports: `dropout`, `unavailable`, `outage`, `crash`, `lost-message`, `left`, … */
  readonly reason: string;
  readonly at: Millis;
}

export interface Outlet {
  arrived(ticket: number, condition: Condition): void | Promise<void>;
  computed(ticket: number): void | Promise<void>;
  lost(ticket: number, loss: Loss): void;
}

/** Told of each ending before the actors are: of a message once, however many copies of it arrive. */
export interface Onlooker {
  /** `order` may be read during the call. */
  arrived(order: Order, stage: Stage, condition: Condition): void;
  computed(order: Order): void;
  lost(loss: Loss): void;
}

/** Bytes that have left and bytes that have arrived, over the whole run. */
export interface Traffic {
  readonly downloadSent: number;
  readonly downloadReceived: number;
  readonly uploadSent: number;
  readonly uploadReceived: number;
}

export interface Environment extends Snapshot {
  /** Must be called once, before the first transfer. */
  connect(outlet: Outlet): void;
  transfer(transfer: Transfer): void;
  compute(computation: Computation): void;
  /** May the server invite this client now? False also for clients that have not joined yet or have left for good. */
  isAvailable(client: ClientId): boolean;
  /** Earliest instant after `now` at which some client may become available; null when none ever will. */
  nextAvailability(): Millis | null;
  readonly traffic: Traffic;
}
