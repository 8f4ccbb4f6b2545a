/**
 * Where an actor's messages wait: on the network until their turn in the order of sending has come, then in the
 * mailbox until the actor is free.
 *
 * Order holds within each pair of sender and receiver: an envelope that overtook an earlier one of its pair is held
 * back until that one has arrived or is lost. A lost message holds nothing back. A copy of an envelope that was
 * received before is recognised by its sequence number and ignored; a damaged envelope counts as received.
 */
import type { ClientId } from "../base/ids.ts";
import type { Millis } from "../base/units.ts";
import type { Leg, Transfer } from "../sim/flight/environment.ts";
import { Envelope } from "./messages/envelope.ts";
import type { Protocol, Ref } from "./messages/refs.ts";

/** The sender of messages that start a run. */
export const outside: Ref = { kind: "outside", id: 0 };

/** What has to be known here of an actor's part. */
export interface Placed {
  readonly isDevice: boolean;
}

/** An envelope between its sending and its turn: its bytes, and where it comes from and goes to. */
export class Transit<Role extends Placed = Placed> extends Envelope {
  /** Null for what comes from outside the system. */
  readonly sender: Seat<Role> | null;
  readonly receiver: Seat<Role>;
  /** The end that is a device, for what goes over the network; null on the server's side, and for timers. */
  readonly device: Seat<Role> | null;
  hasArrived = false;
  /** The one behind it on its device's route. */
  next: Transit<Role> | null = null;

  constructor(
    sender: Seat<Role> | null,
    receiver: Seat<Role>,
    sequence: number,
    sentAt: Millis,
    leg: Leg | null,
    message: Protocol,
  ) {
    super(sender === null ? outside : sender.ref, receiver.ref, sequence, sentAt, leg, message);
    this.sender = sender;
    this.receiver = receiver;
    this.device = leg === null ? null : receiver.role.isDevice ? receiver : sender;
  }

  /** By this it is known to the network. */
  get ticket(): number {
    return this.sequence;
  }

  get client(): ClientId {
    return this.device!.ref.id as ClientId;
  }
}

/** What the environment takes: a message that names the participation it belongs to. */
export const isTransfer = <Role extends Placed>(transit: Transit<Role>): transit is Transit<Role> & Transfer =>
  transit.leg !== null && transit.participation !== null && transit.round !== null;

/** An actor while it has anything to do; the server's actors always. */
export interface Seat<Role extends Placed = Placed> {
  readonly role: Role;
  readonly ref: Ref;
  /** The decoded state; undefined until first needed. */
  state: unknown;
  /** Mostly {@link noMail}: who has something to do is mostly free to do it. */
  mailbox: Envelope[];
  /** The message of the turn that is going on; null when the actor is free. */
  current: Envelope | null;
  /** What the environment calls the turn's work, while it takes virtual time; 0 otherwise. */
  computation: number;
  /** Envelopes from and to this device that are on the network, in the order of sending; few at a time. */
  route: Transit<Role> | null;
  /** Direct messages under way to this actor. */
  expected: number;
}

/** The mailbox of everyone for whom nothing waits. Nobody puts anything into it. */
export const noMail: Envelope[] = [];

export function putInto<Role extends Placed>(seat: Seat<Role>, letter: Envelope): void {
  if (seat.mailbox === noMail) seat.mailbox = [letter];
  else seat.mailbox.push(letter);
}

/** Puts a message that leaves now at the end of the device's route. */
export function putOn<Role extends Placed>(device: Seat<Role>, transit: Transit<Role>): void {
  if (device.route === null) {
    device.route = transit;
    return;
  }
  let last = device.route;
  while (last.next !== null) last = last.next;
  last.next = transit;
}

/** Takes the first envelope off the route that has arrived and has no earlier one of its pair before it. */
export function takeArrived<Role extends Placed>(device: Seat<Role>): Transit<Role> | null {
  for (let transit = device.route; transit !== null; transit = transit.next) {
    if (!transit.hasArrived || isHeldBack(device, transit)) continue;
    takeOff(device, transit);
    return transit;
  }
  return null;
}

export function takeOff<Role extends Placed>(device: Seat<Role>, transit: Transit<Role>): void {
  if (device.route === transit) device.route = transit.next;
  for (let before = device.route; before !== null; before = before.next) {
    if (before.next === transit) before.next = transit.next;
  }
  transit.next = null;
}

/** Has anything come to or from the device that was not delivered yet? */
export function hasArrivals<Role extends Placed>(device: Seat<Role>): boolean {
  for (let transit = device.route; transit !== null; transit = transit.next) if (transit.hasArrived) return true;
  return false;
}

function isHeldBack<Role extends Placed>({ route }: Seat<Role>, transit: Transit<Role>): boolean {
  for (let earlier = route; earlier !== null && earlier !== transit; earlier = earlier.next) {
    if (earlier.sender === transit.sender && earlier.receiver === transit.receiver) return true;
  }
  return false;
}
