/**
 * Who is there: availability models, churn, batteries and scripted outages together. A client without examples never is:
 * there is nothing that it could train on.
 */
import type { ClientId } from "../base/ids.ts";
import type { Rng } from "../base/random.ts";
import { type Availability, availabilityOf, type OnIneligible } from "./availability/availability.ts";
import type { DataTraits } from "./availability/availability-data.ts";
import { Batteries } from "./availability/battery.ts";
import { Churn } from "./availability/churn.ts";
import type { Fleet } from "./fleet/fleet.ts";
import { cutAt } from "./flight/faults.ts";
import type { Flight } from "./flight/flight.ts";
import type { Conditions } from "./script/conditions.ts";
import type { WorldSpec } from "./world-spec.ts";

/** Clients asked when the next one becomes available; of a larger fleet, this many spread over it. */
const sampleSize = 20_000;

export class Presence {
  readonly batteries: Batteries | null;
  readonly #fleet: Fleet;
  readonly #availability: Availability | null;
  readonly #churn: Churn | null;
  readonly #conditions: Conditions;
  readonly #onIneligible: OnIneligible;

  constructor(spec: WorldSpec, fleet: Fleet, rng: Rng, conditions: Conditions, traits?: DataTraits) {
    this.#fleet = fleet;
    this.#conditions = conditions;
    this.#onIneligible = spec.onIneligible;
    this.#availability = availabilityOf(spec.availability, fleet, rng, traits);
    this.#churn = spec.churn === undefined ? null : new Churn(spec.churn, rng);
    this.batteries = spec.battery === undefined ? null : new Batteries(spec.battery, fleet, rng);
  }

  /** Do clients that become ineligible stop and go on later? */
  get pauses(): boolean {
    return this.#onIneligible === "pause";
  }

  mayBeInvited(client: ClientId, now: number): boolean {
    if (this.#fleet.examples[client] === 0) return false;
    if (!this.#conditions.isCalm && (this.#conditions.isOut(client) || this.#conditions.isCutOff(client))) return false;
    if (this.#churn !== null && !this.#churn.isMember(client, now)) return false;
    if (this.batteries !== null && !this.batteries.isEligible(client, now)) return false;
    return this.#availability === null || this.#availability.isOn(client, now);
  }

  /** Why the client cannot begin anything now; null if it can, or will wait. */
  refusal(client: ClientId, now: number): string | null {
    if (this.#churn !== null && !this.#churn.isMember(client, now)) return "left";
    if (this.#onIneligible !== "abort") return null;
    if (!this.#conditions.isCalm && this.#conditions.isOut(client)) return "outage";
    return this.#availability === null || this.#availability.isOn(client, now) ? null : "unavailable";
  }

  /** Sets when work that begins now will be taken away because its client is. */
  limit(flight: Flight, now: number): void {
    const { client, stage } = flight;
    if (this.#churn !== null) cutAt(flight, this.#churn.leavesAt(client), "left");
    if (this.batteries !== null) cutAt(flight, this.batteries.emptyAt(client, stage, now), "battery");
    if (this.#availability !== null && this.#onIneligible === "abort") {
      cutAt(flight, this.#availability.onUntil(client, now, flight.cutAt), "unavailable");
    }
  }

  /** Why work that has come to its end is lost all the same; null if it is not. Its last instant was before `now`. */
  endCheck(client: ClientId, now: number): string | null {
    if (this.#onIneligible !== "abort-at-end-check") return null;
    if (!this.#conditions.isCalm && this.#conditions.isOut(client)) return "outage";
    return this.#availability === null || this.#availability.isOn(client, Math.max(0, now - 1)) ? null : "unavailable";
  }

  /** Does work stand still because its client is away for a while? */
  isAway(client: ClientId, now: number): boolean {
    if (!this.pauses) return false;
    if (!this.#conditions.isCalm && this.#conditions.isOut(client)) return true;
    return this.#availability !== null && !this.#availability.isOn(client, now);
  }

  /** For clients that pause: when the availability model next changes its mind; Infinity if never. */
  nextTurn(client: ClientId, now: number): number {
    const availability = this.#availability;
    if (availability === null) return Infinity;
    const until = availability.onUntil(client, now);
    return until > now ? until : availability.onFrom(client, now);
  }

  /** For clients that pause: is the client away and never back? */
  isGone(client: ClientId, now: number): boolean {
    return this.#availability !== null && this.#availability.onFrom(client, now) === Infinity;
  }

  /**
   * When, after `now`, some client becomes available: exact for fleets of up to 20,000 clients, beyond that the first
   * of 20,000 spread over the fleet. Infinity if none ever does.
   */
  firstReturn(now: number): number {
    let first = this.#conditions.isCalm ? Infinity : this.#conditions.firstReturn();
    if (this.#availability === null && this.#churn === null && this.batteries === null) return first;
    const stride = Math.max(1, Math.floor(this.#fleet.size / sampleSize));
    for (let offset = 0; offset < stride; offset++) {
      for (let client = offset; client < this.#fleet.size; client += stride) {
        // No instant is earlier than the next.
        if (first <= now + 1) return first;
        first = Math.min(first, this.#returnOf(client as ClientId, now, first));
      }
      if (first < Infinity) return first;
    }
    return first;
  }

  /** @param atMost an answer from there on is any such instant */
  #returnOf(client: ClientId, now: number, atMost: number): number {
    if (this.#fleet.examples[client] === 0) return Infinity;
    const joins = this.#churn?.joinsAt(client) ?? 0;
    let time = Math.max(now, joins);
    if (time === Infinity) return Infinity;
    if (this.batteries !== null) time = this.batteries.eligibleFrom(client, time, now);
    if (this.#availability !== null && time < atMost) {
      if (time === now) time = this.#availability.onUntil(client, now, atMost);
      // Who is there for ever does not come back.
      if (time < atMost) time = this.#availability.onFrom(client, time, atMost);
    }
    if (time <= now || (this.#churn !== null && time >= this.#churn.leavesAt(client))) return Infinity;
    return time;
  }
}
