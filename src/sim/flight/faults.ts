/**
 * Where and why a participation fails. All kinds compose: each draws its own chance, and the first to strike counts.
 *
 *   per phase        independent probabilities; loss = 1 − Π (1 − p)
 *   hazard           a rate h while the participation is under way: loss = 1 − exp(−h·T), so slow clients drop more
 *   round rate       one probability for all clients of a round, drawn anew each round. Beta with mean μ and
 *                    correlation ρ (a = μ(1/ρ − 1), b = (1 − μ)(1/ρ − 1)) makes the count of K beta-binomial, with
 *                    variance K·μ(1 − μ)(1 + (K − 1)ρ)
 *   shared shocks    a region is hit in a round with probability ν, its clients then fail with probability q
 *   swizzle          in each window of time another random subset of the clients fails
 */

import {
  checkNotNegative,
  checkPositive,
  checkProbability,
  checkThat,
  type Problem,
  problem,
} from "../../base/problem.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { type Flight, itemOf } from "./flight.ts";

export interface FaultSpec {
  /** The client never answers the invitation; nothing is sent. */
  readonly beforeDownload?: number;
  /** The connection breaks after a uniform share of the bytes. */
  readonly download?: number;
  /** The client stops after a uniform share of the steps. */
  readonly training?: number;
  readonly upload?: number;
  /** The server has the update, but the client never learns of it. */
  readonly acknowledge?: number;
  /** The client crashes after a uniform share of the steps and is back with the state it had before. */
  readonly crash?: number;
  /** The upload arrives damaged. */
  readonly corruptedUpdate?: number;
  /** Failures per hour of virtual time in every phase. */
  readonly hazardPerHour?: number;
  /** Clients fail in training, all of a round with the round's own probability. */
  readonly roundRate?: RoundRate;
  /** Clients fail in training when their region is hit. */
  readonly shocks?: { readonly probability: number; readonly severity: number };
  /** Clients of the window's subset fail in training with the given probability. */
  readonly swizzle?: { readonly window: Millis; readonly share: number; readonly probability: number };
}

export type RoundRate =
  | { readonly type: "beta"; readonly mean: number; readonly correlation: number }
  /** Exponential with mean 1 ÷ rate, at most 1. */
  | { readonly type: "exponential"; readonly rate: number };

/** Decides the fate of flights as they begin. */
export class Faults {
  readonly #spec: FaultSpec;
  readonly #fleet: Fleet;
  readonly #rng: Rng;
  readonly #tierDropout: readonly number[];
  readonly #hasTraining: boolean;
  readonly #hasTransfers: boolean;

  constructor(spec: FaultSpec, fleet: Fleet, rng: Rng) {
    this.#spec = spec;
    this.#fleet = fleet;
    this.#rng = rng;
    this.#tierDropout = fleet.tierDropout ?? [];
    const { training = 0, crash = 0, hazardPerHour = 0, roundRate, shocks, swizzle } = spec;
    this.#hasTraining =
      training + crash + hazardPerHour > 0 ||
      this.#tierDropout.some((probability) => probability > 0) ||
      [roundRate, shocks, swizzle].some((fault) => fault !== undefined);
    const { download = 0, upload = 0, acknowledge = 0 } = spec;
    this.#hasTransfers = download + upload + acknowledge + hazardPerHour > 0;
  }

  /** Does the client not even take the message? */
  refuses(flight: Flight): boolean {
    const { beforeDownload = 0 } = this.#spec;
    return flight.leg === "download" && this.#strikes("before download", flight, beforeDownload) !== null;
  }

  /** Does the client send a damaged update? Then every copy of it is damaged. */
  damages(flight: Flight): boolean {
    const { corruptedUpdate = 0 } = this.#spec;
    return flight.leg === "upload" && this.#strikes("corrupted update", flight, corruptedUpdate) !== null;
  }

  /**
   * Sets where a flight that begins now will stop and when it will be cut off.
   *
   * @param dropout probability of dropping out in training that a scripted effect puts in the place of the world's
   */
  decide(flight: Flight, now: number, dropout: number | null): void {
    if (flight.leg === "compute") {
      if (this.#hasTraining || dropout !== null) this.#decideTraining(flight, now, dropout);
    } else if (this.#hasTransfers) this.#decideTransfer(flight, now);
  }

  #decideTransfer(flight: Flight, now: number): void {
    const { download = 0, upload = 0, acknowledge = 0 } = this.#spec;
    if (flight.leg === "download") this.#failAfterShare(flight, "dropout in download", download);
    if (flight.leg === "upload") this.#failAfterShare(flight, "dropout in upload", upload);
    if (flight.leg === "acknowledge" && this.#strikes("dropout in acknowledge", flight, acknowledge) !== null) {
      flight.stopReason = "dropout";
    }
    this.#decideHazard(flight, now);
  }

  #decideTraining(flight: Flight, now: number, dropout: number | null): void {
    const { training = 0, crash = 0, roundRate, shocks, swizzle } = this.#spec;
    const { client, round } = flight;
    const fleet = this.#fleet;
    const own = this.#tierDropout[fleet.tier[client]!] ?? 0;
    this.#failAfterShare(flight, "dropout in training", dropout ?? 1 - (1 - training) * (1 - own));
    if (crash > 0) this.#failAfterShare(flight, "crash in training", crash, "crash");
    if (roundRate !== undefined) {
      this.#failAfterShare(flight, "round dropout", drawRoundRate(roundRate, this.#rng.at("round rate", round).at(0)));
    }
    if (shocks !== undefined) {
      const region = fleet.region[client]!;
      if (this.#rng.at("regional shock", round).at(region).bernoulli(shocks.probability)) {
        this.#failAfterShare(flight, "shock casualty", shocks.severity, "shock");
      }
    }
    if (swizzle !== undefined) {
      const window = Math.floor(now / swizzle.window);
      if (this.#rng.at("swizzle", window).at(client).bernoulli(swizzle.share)) {
        this.#failAfterShare(flight, "swizzle casualty", swizzle.probability);
      }
    }
    this.#decideHazard(flight, now);
  }

  /** The rest of the stream of a failure that strikes; null if it does not. */
  #strikes(purpose: string, flight: Flight, probability: number): Draws | null {
    if (probability <= 0) return null;
    const draws = this.#rng.at(purpose, flight.round).at(itemOf(flight));
    return draws.bernoulli(probability) ? draws : null;
  }

  /** Of several failures the one after the smallest share counts. */
  #failAfterShare(flight: Flight, purpose: string, probability: number, reason = "dropout"): void {
    const draws = this.#strikes(purpose, flight, probability);
    if (draws === null) return;
    const stopAt = Math.floor(draws.uniform() * flight.total);
    if (flight.stopReason !== "" && stopAt >= flight.stopAt) return;
    flight.stopAt = stopAt;
    flight.stopReason = reason;
  }

  #decideHazard(flight: Flight, now: number): void {
    const { hazardPerHour = 0 } = this.#spec;
    if (hazardPerHour <= 0) return;
    const draws = this.#rng.at("hazard", flight.round).at(itemOf(flight));
    cutAt(flight, now + draws.exponential(3_600_000 / hazardPerHour), "dropout");
  }
}

/** Of several things that would cut a flight off, the first counts. */
export function cutAt(flight: Flight, time: number, reason: string): void {
  if (time >= flight.cutAt) return;
  flight.cutAt = time;
  flight.cutReason = reason;
}

export function drawRoundRate(rate: RoundRate, draws: Draws): number {
  if (rate.type === "exponential") return Math.min(1, draws.exponential(1 / rate.rate));
  const { mean, correlation } = rate;
  const scale = 1 / correlation - 1;
  return draws.beta(mean * scale, (1 - mean) * scale);
}

/** Failures per hour that lose `share` of tasks as long as `duration`. */
export const hazardLosing = (share: number, duration: Millis): number => (-Math.log(1 - share) * 3_600_000) / duration;

export function checkFaults(path: string, spec: FaultSpec): Problem[] {
  const { roundRate, shocks, swizzle } = spec;
  const inside = (value: number) => value > 0 && value < 1;
  return [
    ...checkProbability(`${path}.beforeDownload`, spec.beforeDownload),
    ...checkProbability(`${path}.download`, spec.download),
    ...checkProbability(`${path}.training`, spec.training),
    ...checkProbability(`${path}.upload`, spec.upload),
    ...checkProbability(`${path}.acknowledge`, spec.acknowledge),
    ...checkProbability(`${path}.crash`, spec.crash),
    ...checkProbability(`${path}.corruptedUpdate`, spec.corruptedUpdate),
    ...checkNotNegative(`${path}.hazardPerHour`, spec.hazardPerHour),
    ...(roundRate === undefined
      ? []
      : roundRate.type === "beta"
        ? [
            ...checkThat(inside(roundRate.mean), `${path}.roundRate.mean`, "a number in (0, 1)", roundRate.mean),
            ...checkThat(
              inside(roundRate.correlation),
              `${path}.roundRate.correlation`,
              "a number in (0, 1)",
              roundRate.correlation,
            ),
          ]
        : roundRate.type === "exponential"
          ? checkPositive(`${path}.roundRate.rate`, roundRate.rate)
          : [problem(`${path}.roundRate`, "a rate of type beta or exponential", roundRate)]),
    ...checkProbability(`${path}.shocks.probability`, shocks?.probability),
    ...checkProbability(`${path}.shocks.severity`, shocks?.severity),
    ...checkPositive(`${path}.swizzle.window`, swizzle?.window),
    ...checkProbability(`${path}.swizzle.share`, swizzle?.share),
    ...checkProbability(`${path}.swizzle.probability`, swizzle?.probability),
  ];
}
