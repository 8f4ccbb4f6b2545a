/**
 * The network between clients and server: how fast a message goes and what may happen to it.
 *
 *   time = latency + bytes ÷ rate (+ extra delay when reordered)
 *
 * A message that is lost is missed after a time-out and sent again, so it arrives at least once unless every attempt
 * is lost. A copy that was sent is metered in full, whether it arrives or not.
 */

import { checkCount, checkNotNegative, checkPositive, checkProbability, type Problem } from "../../base/problem.ts";
import type { Rng } from "../../base/random.ts";
import type { BytesPerSecond, Millis } from "../../base/units.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { positiveNormal } from "../fleet/laws.ts";
import { type Flight, itemOf } from "../flight/flight.ts";

export interface NetworkSpec {
  /** Coefficients of variation of a device's rate from message to message: normal, drawn again where not above 0. */
  readonly taskVariation?: { readonly down: number; readonly up: number };
  /** What all uploads together can have; each gets min(own, capacity ÷ uploads under way). */
  readonly sharedUplink?: BytesPerSecond;
  /** The same for downloads and acknowledgements. */
  readonly sharedDownlink?: BytesPerSecond;
  /** Probability that a copy of a message never arrives. */
  readonly loss?: number;
  /** Probability that a message arrives twice: its acknowledgement was lost, and the sender repeated it. */
  readonly duplication?: number;
  /** Probability that a copy arrives damaged. The receiver can tell. */
  readonly corruption?: number;
  /** Copies that take a detour, and so may arrive after messages sent later. */
  readonly reordering?: Reordering;
  readonly retry?: RetrySpec;
}

export interface Reordering {
  readonly probability: number;
  /** The detour's length is uniform up to this. */
  readonly maxDelay: Millis;
}

export interface RetrySpec {
  /** From when a copy should have arrived to when the next is sent. */
  readonly timeout: Millis;
  /** Copies sent before the sender gives up; 1 = never again. */
  readonly attempts: number;
}

export const defaultRetry: RetrySpec = { timeout: 10_000 as Millis, attempts: 5 };

/** No link is faster than this, so that rates stay finite: a petabyte per second. */
const fastest = 1e15;

export class Network {
  readonly retry: RetrySpec;
  readonly #spec: NetworkSpec;
  readonly #fleet: Fleet;
  readonly #rng: Rng;
  /** Nothing but latency and rate: no draws. */
  readonly #isPlain: boolean;

  constructor(spec: NetworkSpec, fleet: Fleet, rng: Rng) {
    this.#spec = spec;
    this.#fleet = fleet;
    this.#rng = rng;
    this.retry = spec.retry ?? defaultRetry;
    const { taskVariation, duplication = 0, corruption = 0, reordering } = spec;
    this.#isPlain = !taskVariation && duplication + corruption + (reordering?.probability ?? 0) === 0;
  }

  capacity(leg: Flight["leg"]): number | undefined {
    return leg === "upload" ? this.#spec.sharedUplink : this.#spec.sharedDownlink;
  }

  /**
   * Decides what happens to the copy of the message that is sent now: sets pace, tail, fate and isDoubled.
   *
   * @param loss what a scripted effect puts in the place of the network's own probability
   */
  send(flight: Flight, loss = this.#spec.loss ?? 0): void {
    const { client, round } = flight;
    const fleet = this.#fleet;
    const isUp = flight.leg === "upload";
    let rate = Math.min(fastest, isUp ? fleet.uplink[client]! : fleet.downlink[client]!);
    flight.tail = fleet.latency[client]!;
    flight.fate = "intact";
    flight.isDoubled = false;
    if (loss > 0 && this.#rng.at("message loss", round).at(itemOf(flight, flight.attempt)).bernoulli(loss))
      flight.fate = "missing";
    if (!this.#isPlain) {
      const { taskVariation, duplication = 0, corruption = 0, reordering } = this.#spec;
      const item = itemOf(flight, flight.attempt);
      if (taskVariation !== undefined) {
        const cv = isUp ? taskVariation.up : taskVariation.down;
        rate *= positiveNormal(1, cv, this.#rng.at("message rate", round).at(item));
      }
      if (corruption > 0 && flight.fate === "intact") {
        if (this.#rng.at("message corruption", round).at(item).bernoulli(corruption)) flight.fate = "corrupted";
      }
      if (duplication > 0) {
        flight.isDoubled = this.#rng.at("message duplication", round).at(item).bernoulli(duplication);
      }
      if (reordering !== undefined) {
        const draws = this.#rng.at("message detour", round).at(item);
        if (draws.bernoulli(reordering.probability)) flight.tail += draws.uniform() * reordering.maxDelay;
      }
    }
    flight.pace = rate / 1_000;
  }
}

export function checkNetwork(path: string, spec: NetworkSpec): Problem[] {
  return [
    ...checkNotNegative(`${path}.taskVariation.down`, spec.taskVariation?.down),
    ...checkNotNegative(`${path}.taskVariation.up`, spec.taskVariation?.up),
    ...checkPositive(`${path}.sharedUplink`, spec.sharedUplink),
    ...checkPositive(`${path}.sharedDownlink`, spec.sharedDownlink),
    ...checkProbability(`${path}.loss`, spec.loss),
    ...checkProbability(`${path}.duplication`, spec.duplication),
    ...checkProbability(`${path}.corruption`, spec.corruption),
    ...checkProbability(`${path}.reordering.probability`, spec.reordering?.probability),
    ...checkNotNegative(`${path}.reordering.maxDelay`, spec.reordering?.maxDelay),
    ...checkPositive(`${path}.retry.timeout`, spec.retry?.timeout),
    ...checkCount(`${path}.retry.attempts`, spec.retry?.attempts, 1),
  ];
}
