/**
 * Messages between their sending and their delivery. Those between the server's side and a device go through the
 * environment, which meters, delays and loses them; all others, and timers, are events of the kernel.
 */
import { invariant } from "../base/errors.ts";
import { NumberMap } from "../base/number-map.ts";
import { after, type Millis } from "../base/units.ts";
import type { Environment } from "../sim/flight/environment.ts";
import type { Kernel } from "../sim/kernel/kernel.ts";
import type { Chronicle } from "./chronicle.ts";
import type { Role } from "./company.ts";
import { isTransfer, putOn, type Seat, Transit, takeArrived, takeOff } from "./mailbox.ts";
import { damaged, type Envelope, open } from "./messages/envelope.ts";
import type { Protocol } from "./messages/refs.ts";
import type { Holdings } from "./turn.ts";

export class PostOffice {
  /** What is on its way, by ticket; the ticket of a message is its sequence number. */
  readonly transits = new NumberMap<Transit<Role>>();
  /** Numbers envelopes and computations alike; 0 is none. */
  nextTicket = 1;
  sent = 0;
  /** Copies of envelopes received before, ignored. */
  duplicates = 0;
  readonly #kernel: Kernel;
  readonly #environment: Environment;
  readonly #holdings: Holdings;
  readonly #chronicle: Chronicle;

  constructor(kernel: Kernel, environment: Environment, holdings: Holdings, chronicle: Chronicle) {
    this.#kernel = kernel;
    this.#environment = environment;
    this.#holdings = holdings;
    this.#chronicle = chronicle;
  }

  /** @param delay until delivery; for messages that do not cross the network */
  send(sender: Seat<Role> | null, receiver: Seat<Role>, message: Protocol, delay: Millis): void {
    const isNetwork = sender !== null && sender !== receiver && (sender.role.isDevice || receiver.role.isDevice);
    const leg = isNetwork ? receiver.role.definition.leg?.(message) : null;
    invariant(
      leg !== undefined,
      () => `"${message.type}" goes to the ${receiver.ref.kind} over the network, but has no leg`,
    );
    const transit = new Transit(sender, receiver, this.nextTicket++, this.#kernel.now, leg, message);
    for (const content of transit.refs) this.#holdings.retain(content);
    this.transits.set(transit.sequence, transit);
    this.sent++;
    this.#chronicle.sent(transit);
    if (isNetwork) this.#transfer(transit);
    else {
      receiver.expected++;
      this.#kernel.schedule(after(this.#kernel.now, delay), "actor.message", transit.sequence);
    }
  }

  /** Takes a direct message whose time has come. */
  collect(ticket: number): Transit<Role> {
    const transit = this.transits.get(ticket);
    invariant(transit?.device === null, () => `message ${ticket} is not on its way`);
    this.transits.take(ticket);
    transit.receiver.expected--;
    return transit;
  }

  /** A copy has come over the network. Null for a copy of what was received before. */
  arrived(ticket: number): Transit<Role> | null {
    const transit = this.transits.get(ticket);
    if (transit !== undefined && !transit.hasArrived) {
      transit.hasArrived = true;
      return transit;
    }
    invariant(ticket < this.nextTicket, () => `ticket ${ticket} arrived, but was never given out`);
    this.duplicates++;
    return null;
  }

  /** The next message to or from the device that is due in the order of sending. */
  takeDue(device: Seat<Role>): Transit<Role> | null {
    const transit = takeArrived(device);
    if (transit !== null) this.transits.take(transit.sequence);
    return transit;
  }

  /** Takes a message that will not be delivered. */
  withdraw(transit: Transit<Role>): void {
    this.transits.take(transit.sequence);
    takeOff(transit.device!, transit);
    this.letGo(transit);
  }

  /** What a message refers to is held for its sake until its turn has committed or it came to nothing. */
  letGo(letter: Envelope): void {
    for (const content of letter.refs) this.#holdings.release(content);
  }

  #transfer(transit: Transit<Role>): void {
    const { sender, receiver, message } = transit;
    invariant(!(sender!.role.isDevice && receiver.role.isDevice), () => `"${message.type}" goes from device to device`);
    invariant(isTransfer(transit), () => unnamed(message));
    putOn(transit.device!, transit);
    this.#environment.transfer(transit);
  }
}

export const unnamed = ({ type }: Protocol): string =>
  `"${type}" has to do with a device, but names no round or no participation`;

/** Damages the envelope's bytes and sees that a receiver could tell. */
export function assertDamageShows(letter: Envelope): void {
  let isReadable = true;
  try {
    open(damaged(letter));
  } catch {
    isReadable = false;
  }
  invariant(!isReadable, () => `envelope ${letter.sequence} was damaged, and nothing showed it`);
}
