/**
 * The two-state process where one of the states is rare: on nearly always, or nearly never.
 *
 * Of the points at which `TwoState` draws the state anew, those that come out on and those that come out off are Poisson
 * processes of their own, of rates λπ(t) and λ(1 − π(t)), independent of each other. Here each has its own cells, about
 * as long as the time between its points, so that the end of a stretch is found in a few of them. Among the points of
 * both together it would be the one in thousands, or not be found at all before the search ends.
 */
import type { ClientId } from "../../base/ids.ts";
import type { Rng } from "../../base/random.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { horizon, shareOfTwoStates, type TwoStateSpec } from "./availability-random.ts";

/** Below this share of either state. */
const rareShare = 1 / 4_000;

export const isRare = ({ onShare }: TwoStateSpec): boolean => Math.min(onShare, 1 - onShare) < rareShare;

export class RareTwoState {
  readonly #rng: Rng;
  readonly #purpose: string;
  readonly #share: (client: ClientId, time: number) => number;
  /** Instants at which a client comes to be on, if it is not already; and off. */
  readonly #ons: Marks;
  readonly #offs: Marks;

  constructor(spec: TwoStateSpec, fleet: Fleet, rng: Rng, purpose: string) {
    const { lag, share, swing } = shareOfTwoStates(spec, fleet, rng);
    this.#rng = rng;
    this.#purpose = purpose;
    this.#share = share;
    const marks = (name: string, most: number, rate: Marks["rate"]) =>
      new Marks({ cell: lag / most, most, rate, rng, purpose: `${purpose} ${name}` });
    this.#ons = marks("on", Math.min(1, spec.onShare * (1 + swing)), share);
    this.#offs = marks("off", Math.min(1, 1 - spec.onShare * (1 - swing)), (client, time) => 1 - share(client, time));
  }

  isOn(client: ClientId, time: number): boolean {
    const off = this.#offs.last(client, time, -1);
    const on = this.#ons.last(client, time, off);
    if (on > off) return true;
    return off < 0 && this.#rng.at(`${this.#purpose} at first`).at(client).bernoulli(this.#share(client, 0));
  }

  onUntil(client: ClientId, time: number, atMost = Infinity): number {
    return this.isOn(client, time) ? this.#offs.next(client, time, atMost) : time;
  }

  onFrom(client: ClientId, time: number, atMost = Infinity): number {
    return this.isOn(client, time) ? time : this.#ons.next(client, time, atMost);
  }
}

interface MarksOptions {
  readonly cell: number;
  /** Largest value of `rate`. */
  readonly most: number;
  readonly rng: Rng;
  readonly purpose: string;
  rate(client: ClientId, time: number): number;
}

/** Points of a Poisson process of `rate` ÷ (cell · most), thinned from one with a point a cell. */
class Marks {
  readonly rate: MarksOptions["rate"];
  readonly #options: MarksOptions;

  constructor(options: MarksOptions) {
    this.#options = options;
    this.rate = options.rate;
  }

  /** The latest point up to `time`, if it is after `least`; else `least`. */
  last(client: ClientId, time: number, least: number): number {
    const { cell: length } = this.#options;
    for (let cell = Math.floor(time / length); cell >= 0 && (cell + 1) * length > least; cell--) {
      let latest = least;
      this.#forEach(client, cell, (point) => {
        if (point <= time && point > latest) latest = point;
      });
      if (latest > least) return latest;
    }
    return least;
  }

  /** The first point after `time`. */
  next(client: ClientId, time: number, atMost: number): number {
    const { cell: length } = this.#options;
    const first = Math.floor(time / length);
    for (let cell = first; cell < first + horizon; cell++) {
      if (cell * length >= atMost) return atMost;
      let earliest = Infinity;
      this.#forEach(client, cell, (point) => {
        if (point > time && point < earliest) earliest = point;
      });
      if (earliest < Infinity) return earliest;
    }
    return Infinity;
  }

  #forEach(client: ClientId, cell: number, see: (point: number) => void): void {
    const { cell: length, most, rng, purpose } = this.#options;
    const draws = rng.at(purpose, cell).at(client);
    for (let left = draws.poisson(1); left > 0; left--) {
      const point = (cell + draws.uniform()) * length;
      if (draws.uniform() * most < this.rate(client, point)) see(point);
    }
  }
}
