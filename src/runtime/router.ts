/**
 * Messages between their sending and their delivery. Those between the server's side and a device go through the
 * environment, which meters, delays and loses them; all others, and timers, are events of the kernel.
 */
import { invariant } from "../base/errors.ts";
import { NumberMap } from "../base/number-map.ts";
import { after, type Millis } from "../base/units.ts";
import type { Environment } from "../sim/flight/environment.ts";
import type { Kernel } from "../sim/kernel/kernel.ts";
import { type Entry, isTransfer, putOn, Transit, takeArrived, takeOff } from "./entry.ts";
import type { EventLog } from "./event-log.ts";
import { damaged, type Envelope, open } from "./messages/envelope.ts";
import type { Protocol } from "./messages/refs.ts";
import type { References } from "./references.ts";

export class Router {
  /** What is on its way, by ticket; the ticket of a message is its sequence number. */
  readonly inFlight = new NumberMap<Transit>();
  /** Numbers envelopes and computations alike; 0 is none. */
  nextTicket = 1;
  sent = 0;
  /** Copies of envelopes received before, ignored. */
  duplicates = 0;
  readonly #kernel: Kernel;
  readonly #environment: Environment;
  readonly #references: References;
  readonly #log: EventLog;

  constructor(kernel: Kernel, environment: Environment, references: References, log: EventLog) {
    this.#kernel = kernel;
    this.#environment = environment;
    this.#references = references;
    this.#log = log;
  }

  /** @param delay until delivery; for messages that do not cross the network */
  send(sender: Entry | null, receiver: Entry, message: Protocol, delay: Millis): void {
    const isNetwork = sender !== null && sender !== receiver && (sender.kind.isDevice || receiver.kind.isDevice);
    const stage = isNetwork ? receiver.kind.definition.stage?.(message) : null;
    invariant(
      stage !== undefined,
      () => `"${message.type}" goes to the ${receiver.ref.kind} over the network, but has no stage`,
    );
    const ticket = this.nextTicket++;
    const transit = new Transit(sender, receiver, ticket, this.#kernel.now, stage, message);
    for (const content of transit.refs) this.#references.retain(content);
    this.inFlight.set(ticket, transit);
    this.sent++;
    this.#log.sent(transit);
    if (isNetwork) this.#transfer(transit);
    else {
      receiver.expected++;
      this.#kernel.schedule(after(this.#kernel.now, delay), "actor.message", ticket);
    }
  }

  /** Takes a direct message whose time has come. */
  collect(ticket: number): Transit {
    const transit = this.inFlight.get(ticket);
    invariant(transit?.device === null, () => `message ${ticket} is not on its way`);
    this.inFlight.take(ticket);
    transit.receiver.expected--;
    return transit;
  }

  /** A copy has come over the network. Null for a copy of what was received before. */
  arrived(ticket: number): Transit | null {
    const transit = this.inFlight.get(ticket);
    if (transit !== undefined && !transit.hasArrived) {
      transit.hasArrived = true;
      return transit;
    }
    invariant(ticket < this.nextTicket, () => `ticket ${ticket} arrived, but was never given out`);
    this.duplicates++;
    return null;
  }

  /** The next message to or from the device that is due in the order of sending. */
  takeDue(device: Entry): Transit | null {
    const transit = takeArrived(device);
    if (transit !== null) this.inFlight.take(transit.sequence);
    return transit;
  }

  /** Takes a message that will not be delivered. */
  withdraw(transit: Transit): void {
    this.inFlight.take(transit.sequence);
    takeOff(transit.device!, transit);
    this.release(transit);
  }

  /** What a message refers to is held for its sake until its turn has committed or it came to nothing. */
  release(envelope: Envelope): void {
    for (const content of envelope.refs) this.#references.release(content);
  }

  #transfer(transit: Transit): void {
    const { sender, receiver, type } = transit;
    invariant(!(sender!.kind.isDevice && receiver.kind.isDevice), () => `"${type}" goes from device to device`);
    invariant(isTransfer(transit), () => unnamed(transit));
    putOn(transit.device!, transit);
    this.#environment.transfer(transit);
  }
}

export const unnamed = ({ type }: Envelope): string =>
  `"${type}" has to do with a device, but names no round or no participation`;

/** Damages the envelope's bytes and sees that a receiver could tell. */
export function assertDamageShows(envelope: Envelope): void {
  let isReadable = true;
  try {
    open(damaged(envelope));
  } catch {
    isReadable = false;
  }
  invariant(!isReadable, () => `envelope ${envelope.sequence} was damaged, and nothing showed it`);
}
