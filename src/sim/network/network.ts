/**
 * The network between clients and server: how fast a message goes and what may happen to it.
 *
 *   time = latency + bytes ÷ rate (+ extra delay when reordered)
 *
 * A message that is lost is missed after a time-out and sent again, so it arrives at least once unless every attempt
 * is lost. A copy that was sent is metered in full, whether it arrives or not.
 */
import * as z from "zod";
import { count, duration, instant, notNegative, positive, probability } from "../../base/fields.ts";
import type { Rng } from "../../base/random.ts";
import { seconds } from "../../base/units.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { positiveNormal } from "../fleet/laws.ts";
import { type Flight, luckOf } from "../flight/flight.ts";

const retrySchema = z.strictObject({
  timeout: duration.describe("milliseconds from when a copy should have arrived to when the next is sent"),
  attempts: count.describe("copies sent before the sender gives up; 1 = never again"),
});

type Retry = Readonly<z.output<typeof retrySchema>>;

const defaultRetry: Retry = { timeout: seconds(10), attempts: 5 };

export const networkSchema = z.strictObject({
  taskVariation: z
    .strictObject({
      down: notNegative.describe("of messages to the client"),
      up: notNegative.describe("of messages from it"),
    })
    .exactOptional()
    .describe(
      "coefficients of variation of a device's rate from message to message: normal, drawn again where not above 0",
    ),
  sharedUplink: positive
    .exactOptional()
    .describe("bytes per second that all uploads together can have; each gets min(own, capacity ÷ uploads under way)"),
  sharedDownlink: positive.exactOptional().describe("as sharedUplink, for downloads and acknowledgements"),
  loss: probability.exactOptional().describe("probability that a copy of a message never arrives"),
  duplication: probability
    .exactOptional()
    .describe("probability that a message arrives twice: its acknowledgement was lost, and the sender repeated it"),
  corruption: probability.exactOptional().describe("probability that a copy arrives damaged. The receiver can tell"),
  reordering: z
    .strictObject({
      probability: probability.describe("that a copy takes one"),
      maxDelay: instant.describe("longest detour, in milliseconds"),
    })
    .exactOptional()
    .describe("copies that take a detour of a uniform length, and so may arrive after messages sent later"),
  retry: retrySchema
    .exactOptional()
    .describe("what is done about copies that are lost: five, each 10 s after the last, unless given"),
});

export type NetworkSpec = Readonly<z.output<typeof networkSchema>>;

/** No link is faster than this, so that rates stay finite: a petabyte per second. */
const fastest = 1e15;

export class Network {
  readonly retry: Retry;
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

  /**
   * Decides what happens to the copy of the message that is sent now: sets pace, tail, fate and isDoubled.
   *
   * @param loss what a scripted effect puts in the place of the network's own probability
   */
  send(flight: Flight, loss = this.#spec.loss ?? 0): void {
    const { client, attempt } = flight;
    const fleet = this.#fleet;
    const isUp = flight.is === "up";
    let rate = Math.min(fastest, isUp ? fleet.uplink[client]! : fleet.downlink[client]!);
    flight.tail = fleet.latency[client]!;
    flight.fate = "intact";
    flight.isDoubled = false;
    if (loss > 0 && luckOf(this.#rng, "message loss", flight, attempt).bernoulli(loss)) flight.fate = "missing";
    if (!this.#isPlain) {
      const { taskVariation, duplication = 0, corruption = 0, reordering } = this.#spec;
      if (taskVariation !== undefined) {
        const cv = isUp ? taskVariation.up : taskVariation.down;
        rate *= positiveNormal(1, cv, luckOf(this.#rng, "message rate", flight, attempt));
      }
      if (corruption > 0 && flight.fate === "intact") {
        if (luckOf(this.#rng, "message corruption", flight, attempt).bernoulli(corruption)) flight.fate = "corrupted";
      }
      if (duplication > 0) {
        flight.isDoubled = luckOf(this.#rng, "message duplication", flight, attempt).bernoulli(duplication);
      }
      if (reordering !== undefined) {
        const draws = luckOf(this.#rng, "message detour", flight, attempt);
        if (draws.bernoulli(reordering.probability)) flight.tail += draws.uniform() * reordering.maxDelay;
      }
    }
    flight.pace = rate / 1_000;
  }
}
