/**
 * Where an actor's messages wait: on the network until their turn in the order of sending has come, then in the
 * mailbox until the actor is free.
 *
 * Order holds within each pair of sender and receiver: an envelope that overtook an earlier one of its pair is held
 * back until that one has arrived or is lost. A lost message holds nothing back. A copy of an envelope that was
 * received before is recognised by its sequence number and ignored; a damaged envelope counts as received.
 */
import type { Ref } from "./actor.ts";
import type { Envelope } from "./envelope.ts";

/** An envelope between its sending and its turn. */
export interface Transit<Role = unknown> {
  readonly envelope: Envelope;
  /** Null for what comes from outside the system. */
  readonly sender: Seat<Role> | null;
  readonly receiver: Seat<Role>;
  /** `network`: between server and device. `direct`: on the server's side, and timers. */
  readonly by: "network" | "direct";
  hasArrived: boolean;
}

/** An actor while it has anything to do; the server's actors always. */
export interface Seat<Role = unknown> {
  readonly role: Role;
  readonly ref: Ref;
  /** `server`, `client/c-017`. */
  readonly name: string;
  /** The decoded state; undefined until first needed. */
  state: unknown;
  readonly mailbox: Envelope[];
  /** The message of the turn that is going on; null when the actor is free. */
  current: Envelope | null;
  /** What the environment calls the turn's work, while it takes virtual time; 0 otherwise. */
  computation: number;
  /** Envelopes from and to this device that are on the network, in the order of sending. */
  readonly route: Transit<Role>[];
  /** Direct messages under way to this actor. */
  expected: number;
}

/** Takes the first envelope off the route that has arrived and has no earlier one of its pair before it. */
export function takeArrived<Role>(route: Transit<Role>[]): Transit<Role> | null {
  for (let i = 0; i < route.length; i++) {
    const transit = route[i]!;
    if (transit.hasArrived && !isHeldBack(route, i)) {
      route.splice(i, 1);
      return transit;
    }
  }
  return null;
}

export function takeOff<Role>(route: Transit<Role>[], transit: Transit<Role>): void {
  const index = route.indexOf(transit);
  if (index >= 0) route.splice(index, 1);
}

function isHeldBack(route: readonly Transit[], index: number): boolean {
  const { sender, receiver } = route[index]!;
  for (let i = 0; i < index; i++) {
    if (route[i]!.sender === sender && route[i]!.receiver === receiver) return true;
  }
  return false;
}
