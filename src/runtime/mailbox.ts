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
  /** The one behind it on its device's route. */
  next: Transit<Role> | null;
}

/** An actor while it has anything to do; the server's actors always. */
export interface Seat<Role = unknown> {
  readonly role: Role;
  readonly ref: Ref;
  /** The decoded state; undefined until first needed. */
  state: unknown;
  readonly mailbox: Envelope[];
  /** The message of the turn that is going on; null when the actor is free. */
  current: Envelope | null;
  /** What the environment calls the turn's work, while it takes virtual time; 0 otherwise. */
  computation: number;
  /** Envelopes from and to this device that are on the network, in the order of sending; few at a time. */
  route: Transit<Role> | null;
  /** Direct messages under way to this actor. */
  expected: number;
}

/** Puts a message that leaves now at the end of the device's route. */
export function putOn<Role>(device: Seat<Role>, transit: Transit<Role>): void {
  if (device.route === null) {
    device.route = transit;
    return;
  }
  let last = device.route;
  while (last.next !== null) last = last.next;
  last.next = transit;
}

/** Takes the first envelope off the route that has arrived and has no earlier one of its pair before it. */
export function takeArrived<Role>(device: Seat<Role>): Transit<Role> | null {
  for (let transit = device.route; transit !== null; transit = transit.next) {
    if (!transit.hasArrived || isHeldBack(device, transit)) continue;
    takeOff(device, transit);
    return transit;
  }
  return null;
}

export function takeOff<Role>(device: Seat<Role>, transit: Transit<Role>): void {
  if (device.route === transit) device.route = transit.next;
  for (let before = device.route; before !== null; before = before.next) {
    if (before.next === transit) before.next = transit.next;
  }
  transit.next = null;
}

/** Has anything come to or from the device that was not delivered yet? */
export function hasArrivals<Role>(device: Seat<Role>): boolean {
  for (let transit = device.route; transit !== null; transit = transit.next) if (transit.hasArrived) return true;
  return false;
}

function isHeldBack<Role>({ route }: Seat<Role>, transit: Transit<Role>): boolean {
  for (let earlier = route; earlier !== null && earlier !== transit; earlier = earlier.next) {
    if (earlier.sender === transit.sender && earlier.receiver === transit.receiver) return true;
  }
  return false;
}
