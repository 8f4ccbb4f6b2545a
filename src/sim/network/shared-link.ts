/**
 * A link of the server that many messages share: each gets min(own pace, capacity ÷ messages under way), anew whenever
 * one comes or goes.
 *
 * Coming and going cost time in proportion to the messages under way. The share that slow messages leave unused is not
 * handed to the others.
 */
import { type Flight, settle } from "../flight/flight.ts";

/** Rounding leaves this much of a millisecond's work undone. */
const slack = 1e-6;

export class SharedLink {
  /** Bytes per millisecond. */
  readonly #capacity: number;
  /** Slots of the flights on the link, in the order they came. */
  #slots: number[] = [];

  constructor(bytesPerSecond: number) {
    this.#capacity = bytesPerSecond / 1_000;
  }

  get slots(): readonly number[] {
    return this.#slots;
  }

  join(slot: number): void {
    this.#slots.push(slot);
  }

  /** @returns false if the flight was not on the link */
  leave(slot: number): boolean {
    const index = this.#slots.indexOf(slot);
    if (index >= 0) this.#slots.splice(index, 1);
    return index >= 0;
  }

  /**
   * Settles every flight, shares the link out again, and says when the first will be through.
   *
   * @param paceOf a flight's own pace at present
   */
  share(now: number, flightOf: (slot: number) => Flight, paceOf: (flight: Flight) => number): number {
    const fair = this.#capacity / this.#slots.length;
    let first = Infinity;
    for (const slot of this.#slots) {
      const flight = flightOf(slot);
      settle(flight, now);
      flight.rate = Math.min(fair, paceOf(flight));
      first = Math.min(first, now + (flight.stopAt - flight.done) / flight.rate);
    }
    return first;
  }

  /** Slots of the flights that have nothing left to send. Flights must be settled. */
  finished(flightOf: (slot: number) => Flight): number[] {
    return this.#slots.filter((slot) => {
      const { stopAt, done, rate } = flightOf(slot);
      return stopAt - done <= slack * Math.max(1, rate);
    });
  }

  restore(slots: readonly number[]): void {
    this.#slots = [...slots];
  }
}
