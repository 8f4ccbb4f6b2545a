/**
 * The server's own links, where all downloads or all uploads share one. Each link waits for the first of its messages
 * to be through; a message that comes or goes changes when that is.
 */
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { whole, wholeAs } from "../../base/fields.ts";
import { type Flight, type FlightTable, farAhead, settle, soonest } from "../flight/flight.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { NetworkSpec } from "./network.ts";
import { SharedLink } from "./shared-link.ts";

export interface LinkOffice {
  readonly kernel: Kernel;
  readonly flights: FlightTable;
  /** A flight's own pace at present. */
  paceOf(flight: Flight, now: number): number;
  /** The flight's last byte has left, or the last it will ever send. */
  through(flight: Flight, slot: number): void;
}

/** Per direction: flights on the link, and the event it waits for. */
export const serverLinksSchema = z.array(z.strictObject({ slots: z.array(whole), event: z.int().min(-1) })).length(2);
type ServerLinksState = z.output<typeof serverLinksSchema>;

interface Direction {
  readonly link: SharedLink;
  event: number;
}

export class ServerLinks {
  readonly #office: LinkOffice;
  /** Downlink and uplink of the server; null where messages do not share. */
  readonly #directions: readonly (Direction | null)[];

  constructor({ sharedDownlink, sharedUplink }: NetworkSpec, office: LinkOffice) {
    this.#office = office;
    this.#directions = [sharedDownlink, sharedUplink].map((capacity) =>
      capacity === undefined ? null : { link: new SharedLink(capacity), event: -1 },
    );
    office.kernel.on<number>("link", (index, sequence) => this.#onLink(index, sequence), wholeAs(1));
  }

  isShared(flight: Flight): boolean {
    return flight.is !== "work" && this.#directions[indexOf(flight)] !== null;
  }

  /** Takes a flight that shares up, or sets it down if its pace is 0 or it has nothing left to send. */
  update(flight: Flight, slot: number, pace: number): void {
    const { link } = this.#directions[indexOf(flight)]!;
    link.leave(slot);
    if (pace > 0 && flight.done < flight.stopAt) link.join(slot);
    else flight.rate = 0;
    this.#share(indexOf(flight));
  }

  /** A flight that shares has ended. */
  leave(flight: Flight, slot: number): void {
    if (this.#directions[indexOf(flight)]!.link.leave(slot)) this.#share(indexOf(flight));
  }

  snapshot(): ServerLinksState {
    return this.#directions.map((direction) => ({
      slots: direction === null ? [] : [...direction.link.slots],
      event: direction?.event ?? -1,
    }));
  }

  /** Once the flights are. @throws InputError for a flight that is not on the link */
  restore(state: ServerLinksState): void {
    for (const [index, direction] of this.#directions.entries()) {
      const { slots, event } = state[index]!;
      const stray = slots.findIndex((slot, at) => {
        const flight = this.#office.flights.get(slot);
        return !flight?.isShared || indexOf(flight) !== index || slots.indexOf(slot) !== at;
      });
      if (stray >= 0)
        throw new InputError(`links[${index}].slots[${stray}] is ${slots[stray]}, expected one of its own flights`);
      if (direction === null) continue;
      direction.link.restore(slots);
      direction.event = event;
    }
  }

  #share(index: number): void {
    const { kernel, flights } = this.#office;
    const { now } = kernel;
    const direction = this.#directions[index]!;
    const first = direction.link.share(
      now,
      (slot) => flights.get(slot)!,
      (flight) => this.#office.paceOf(flight, now),
    );
    const when = soonest(now, Math.min(first, now + farAhead));
    direction.event = first === Infinity || when === null ? -1 : kernel.schedule(when, "link", index);
  }

  #onLink(index: number, sequence: number): void {
    const direction = this.#directions[index];
    if (!direction || direction.event !== sequence) return;
    const flightOf = (slot: number) => this.#office.flights.get(slot)!;
    for (const slot of direction.link.slots) settle(flightOf(slot), this.#office.kernel.now);
    for (const slot of direction.link.finished(flightOf)) {
      const flight = flightOf(slot);
      flight.done = flight.stopAt;
      direction.link.leave(slot);
      this.#office.through(flight, slot);
    }
    this.#share(index);
  }
}

const indexOf = ({ is }: Flight): number => (is === "up" ? 1 : 0);
