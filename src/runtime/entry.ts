/**
 * An actor as the system knows it, and where its messages wait: in flight until their turn in the order of sending has
 * come, then in the mailbox until the actor is free.
 *
 * Order holds within each pair of sender and receiver: an envelope that overtook an earlier one of its pair is held
 * back until that one has arrived or is lost. A lost message holds nothing back.
 */
import type { ClientId } from "../base/ids.ts";
import type { NumberMap } from "../base/number-map.ts";
import type { Millis } from "../base/units.ts";
import type { Transfer } from "../sim/flight/environment.ts";
import type { MessageStage } from "../sim/flight/stages.ts";
import type { Registration } from "./actor.ts";
import { Envelope } from "./messages/envelope.ts";
import type { Protocol, Ref } from "./messages/refs.ts";

/** The sender of messages that start a run. */
export const outside: Ref = { kind: "outside", id: 0 };

/** All actors with one definition. */
export interface ActorKind extends Registration {
  readonly isDevice: boolean;
  readonly entries: NumberMap<Entry>;
  /** Devices whose state is not their first, as bytes. */
  readonly states: NumberMap<Uint8Array>;
}

/** A device while it has anything to do; the server's actors always. */
export interface Entry {
  readonly kind: ActorKind;
  readonly ref: Ref;
  /** The decoded state; undefined until first needed. */
  state: unknown;
  mailbox: Envelope[];
  /** The message of the turn that is going on; null when the actor is free. */
  current: Envelope | null;
  /** The ticket of the turn's work, while it takes virtual time; 0 otherwise. */
  computation: number;
  /** Envelopes from and to this device that are on the network, in the order of sending; few at a time. */
  route: Transit | null;
  /** Direct messages under way to this actor. */
  expected: number;
}

/** An envelope between its sending and its turn, and where it comes from and goes to. */
export class Transit extends Envelope {
  /** Null for what comes from outside the system. */
  readonly sender: Entry | null;
  readonly receiver: Entry;
  /** The end that is a device, for what goes over the network; null on the server's side, and for timers. */
  readonly device: Entry | null;
  hasArrived = false;
  /** The one behind it on its device's route. */
  next: Transit | null = null;

  constructor(
    sender: Entry | null,
    receiver: Entry,
    sequence: number,
    sentAt: Millis,
    stage: MessageStage | null,
    message: Protocol,
  ) {
    super(sender?.ref ?? outside, receiver.ref, sequence, sentAt, stage, message);
    this.sender = sender;
    this.receiver = receiver;
    this.device = stage === null ? null : receiver.kind.isDevice ? receiver : sender;
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
export const isTransfer = (transit: Transit): transit is Transit & Transfer =>
  transit.stage !== null && transit.participation !== null && transit.round !== null;

/** Puts a message that leaves now at the end of the device's route. */
export function putOn(device: Entry, transit: Transit): void {
  if (device.route === null) device.route = transit;
  else {
    let last = device.route;
    while (last.next !== null) last = last.next;
    last.next = transit;
  }
}

/** Takes the first envelope off the route that has arrived and has no earlier one of its pair before it. */
export function takeArrived(device: Entry): Transit | null {
  for (let transit = device.route; transit !== null; transit = transit.next) {
    if (!transit.hasArrived || isHeldBack(device, transit)) continue;
    takeOff(device, transit);
    return transit;
  }
  return null;
}

export function takeOff(device: Entry, transit: Transit): void {
  if (device.route === transit) device.route = transit.next;
  for (let before = device.route; before !== null; before = before.next) {
    if (before.next === transit) before.next = transit.next;
  }
  transit.next = null;
}

/** Has anything come to or from the device that was not delivered yet? */
export function hasArrivals({ route }: Entry): boolean {
  for (let transit = route; transit !== null; transit = transit.next) if (transit.hasArrived) return true;
  return false;
}

function isHeldBack({ route }: Entry, { sequence, sender, receiver }: Transit): boolean {
  for (let earlier = route; earlier !== null && earlier.sequence < sequence; earlier = earlier.next) {
    if (earlier.sender === sender && earlier.receiver === receiver) return true;
  }
  return false;
}
