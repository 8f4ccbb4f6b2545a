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
 *
 * A fault is an entry of {@link faults}: its field in a scenario with the range, and what it does to a flight.
 */
import * as z from "zod";
import { duration, notNegative, openShare, positive, probability } from "../../base/fields.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { Millis } from "../../base/units.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { type Flight, luckOf } from "./flight.ts";
import { type Stage, stageNames, stages } from "./stages.ts";

/** As the client is invited; as a copy of its update leaves; as a stage begins. */
type Moment = "invitation" | "copy" | Stage;

interface Luck {
  readonly fleet: Fleet;
  readonly rng: Rng;
}

interface Fault<Setting> {
  readonly schema: z.ZodType<Setting, Setting>;
  readonly at: readonly Moment[];
  /** The setting of a world that has none; without it the fault strikes nobody then. */
  readonly unset?: Setting;
  /** A scripted effect whose probability takes the place of the world's. */
  readonly replacedBy?: "dropout";
  /** Draws, and sets where or when the flight fails. @param scripted the probability of an effect that replaces it */
  strike(setting: Setting, flight: Flight, luck: Luck, now: number, scripted: number | null): void;
  /** The path within the setting of a chance that nobody can escape, so that no client is ever counted. */
  inescapable?(setting: Setting): string | null;
}

const fault = <Setting>(entry: Fault<Setting>): Fault<Setting> => entry;

const always = (setting: number): string | null => (setting === 1 ? "" : null);

const afterShare = (stage: Stage, about: string, purpose: string, reason?: string): Fault<number> => ({
  schema: probability.describe(about),
  at: [stage],
  strike: (setting, flight, { rng }) => failAfterShare(flight, rng, purpose, setting, reason),
  ...(stages[stage].isAsked ? {} : { inescapable: always }),
});

const atOnce = (moment: Moment, about: string, purpose: string): Fault<number> => ({
  schema: probability.describe(about),
  at: [moment],
  strike(setting, flight, { rng }) {
    if (strikes(flight, rng, purpose, setting) !== null) flight.stopReason = "dropout";
  },
});

/** @internal */
export const faults = {
  beforeDownload: {
    ...atOnce("invitation", "the client never answers the invitation; nothing is sent", "before download"),
    inescapable: always,
  },
  download: afterShare(
    "download",
    "the connection breaks after a uniform share of the bytes to the client",
    "dropout in download",
  ),
  training: fault({
    schema: probability.describe(
      "the client stops after a uniform share of the steps. To this comes the `dropout` of its tier",
    ),
    at: ["training"],
    unset: 0,
    replacedBy: "dropout",
    strike(setting, flight, { fleet, rng }, _, scripted) {
      const ofTier = fleet.tierDropout?.[fleet.tier[flight.client]!] ?? 0;
      failAfterShare(flight, rng, "dropout in training", scripted ?? 1 - (1 - setting) * (1 - ofTier));
    },
    inescapable: always,
  }),
  preliminary: afterShare(
    "preliminary",
    "the connection breaks as the client sends what its method asks for ahead of the update",
    "dropout in preliminary",
  ),
  answer: afterShare("answer", "the connection breaks as the server answers that", "dropout in answer"),
  upload: afterShare("upload", "the connection breaks after a uniform share of the update", "dropout in upload"),
  acknowledge: atOnce(
    "acknowledge",
    "the server has the update, but the client never learns of it",
    "dropout in acknowledge",
  ),
  crash: afterShare(
    "training",
    "the client crashes after a uniform share of the steps and is back with the state it had before",
    "crash in training",
    "crash",
  ),
  corruptedUpdate: fault({
    schema: probability.describe("the upload arrives damaged, however many copies of it are sent"),
    at: ["copy"],
    strike(setting, flight, { rng }) {
      if (strikes(flight, rng, "corrupted update", setting) !== null) flight.fate = "corrupted";
    },
    inescapable: always,
  }),
  hazardPerHour: fault({
    schema: notNegative.describe(
      "failures per hour of virtual time in every phase, so that slow clients fail more often",
    ),
    at: stageNames,
    strike(setting, flight, { rng }, now) {
      if (setting <= 0) return;
      const draws = luckOf(rng, "hazard", flight);
      cutAt(flight, now + draws.exponential(3_600_000 / setting), "dropout");
    },
  }),
  roundRate: fault({
    schema: z
      .discriminatedUnion("type", [
        z
          .strictObject({
            type: z.literal("beta"),
            mean: openShare.describe("mean over the rounds"),
            correlation: openShare.describe("of two clients of one round; towards 1 all fail or none"),
          })
          .describe("with a mean and how much clients of a round have in common"),
        z
          .strictObject({
            type: z.literal("exponential"),
            rate: positive.describe("1 ÷ mean over the rounds, before probabilities above 1 become 1"),
          })
          .describe("with a mean alone"),
      ])
      .describe("clients fail in training, all of a round with a probability that is drawn for it"),
    at: ["training"],
    strike(setting, flight, { rng }) {
      const drawn = drawRoundRate(setting, rng.at("round rate", flight.round).at(0));
      failAfterShare(flight, rng, "round dropout", drawn);
    },
  }),
  shocks: fault({
    schema: z
      .strictObject({
        probability: probability.describe("that a region is hit in a round"),
        severity: probability.describe("that a client of it then fails"),
      })
      .describe("clients fail in training when their region is hit"),
    at: ["training"],
    strike(setting, flight, { fleet, rng }) {
      const region = fleet.region[flight.client]!;
      if (!rng.at("regional shock", flight.round).at(region).bernoulli(setting.probability)) return;
      failAfterShare(flight, rng, "shock casualty", setting.severity, "shock");
    },
    inescapable: (setting) => (setting.severity === 1 && setting.probability === 1 ? "probability" : null),
  }),
  swizzle: fault({
    schema: z
      .strictObject({
        window: duration.describe("milliseconds after which others are in danger"),
        share: probability.describe("of clients in danger"),
        probability: probability.describe("that one of these fails"),
      })
      .describe("in each window of time another random part of the clients fails in training"),
    at: ["training"],
    strike(setting, flight, { rng }, now) {
      const window = Math.floor(now / setting.window);
      if (!rng.at("swizzle", window).at(flight.client).bernoulli(setting.share)) return;
      failAfterShare(flight, rng, "swizzle casualty", setting.probability);
    },
    inescapable: (setting) => (setting.probability === 1 && setting.share === 1 ? "share" : null),
  }),
};

const entries = Object.entries<Fault<unknown>>(faults);

type Shape = { [Name in keyof typeof faults]: z.ZodExactOptional<(typeof faults)[Name]["schema"]> };

export const faultsSchema = z.strictObject(
  Object.fromEntries(entries.map(([name, { schema }]) => [name, schema.exactOptional()])) as Shape,
);

export type FaultSpec = Readonly<z.output<typeof faultsSchema>>;
type RoundRate = NonNullable<FaultSpec["roundRate"]>;

/** Settings because of which nobody could ever be counted: a chance of 1 that every participation meets. */
export const inescapableFaults = (spec: FaultSpec): { path: string; replacedBy: "dropout" | undefined }[] =>
  entries.flatMap(([name, { inescapable, replacedBy }]) => {
    const setting = settingOf(spec, name);
    const within = setting === undefined ? null : (inescapable?.(setting) ?? null);
    return within === null ? [] : [{ path: within === "" ? name : `${name}.${within}`, replacedBy }];
  });

const settingOf = (spec: Readonly<Record<string, unknown>>, name: string): unknown => spec[name];

/** Decides the fate of flights as they begin. */
export class Faults {
  readonly #luck: Luck;
  readonly #armed: Readonly<Record<Moment, { readonly fault: Fault<unknown>; readonly setting: unknown }[]>>;

  constructor(spec: FaultSpec, fleet: Fleet, rng: Rng) {
    this.#luck = { fleet, rng };
    const moments: readonly Moment[] = ["invitation", "copy", ...stageNames];
    this.#armed = Object.fromEntries(moments.map((moment) => [moment, []])) as never;
    for (const [name, fault] of entries) {
      const setting = settingOf(spec, name) ?? fault.unset;
      if (setting !== undefined) for (const moment of fault.at) this.#armed[moment].push({ fault, setting });
    }
  }

  /** Does the client not even take the message? Then `stopReason` says why. */
  refuses(flight: Flight): boolean {
    if (flight.stage === "download") this.#strike("invitation", flight, 0, null);
    return flight.stopReason !== "";
  }

  /** Damages an update that its client sends damaged. */
  damage(flight: Flight): void {
    if (flight.stage === "upload") this.#strike("copy", flight, 0, null);
  }

  /**
   * Sets where a flight that begins now will stop and when it will be cut off.
   *
   * @param dropout probability of dropping out in training that a scripted effect puts in the place of the world's
   */
  decide(flight: Flight, now: number, dropout: number | null): void {
    this.#strike(flight.stage, flight, now, dropout);
  }

  #strike(moment: Moment, flight: Flight, now: number, scripted: number | null): void {
    for (const { fault, setting } of this.#armed[moment]) fault.strike(setting, flight, this.#luck, now, scripted);
  }
}

/** The rest of the stream of a failure that strikes; null if it does not. */
function strikes(flight: Flight, rng: Rng, purpose: string, probability: number): Draws | null {
  if (probability <= 0) return null;
  const draws = luckOf(rng, purpose, flight);
  return draws.bernoulli(probability) ? draws : null;
}

/** Of several failures the one after the smallest share counts. */
function failAfterShare(flight: Flight, rng: Rng, purpose: string, probability: number, reason = "dropout"): void {
  const draws = strikes(flight, rng, purpose, probability);
  if (draws === null) return;
  const stopAt = Math.floor(draws.uniform() * flight.total);
  if (flight.stopReason !== "" && stopAt >= flight.stopAt) return;
  flight.stopAt = stopAt;
  flight.stopReason = reason;
}

/** Of several things that would cut a flight off, the first counts. */
export function cutAt(flight: Flight, time: number, reason: string): void {
  if (time >= flight.cutAt) return;
  flight.cutAt = time;
  flight.cutReason = reason;
}

/** @internal */
export function drawRoundRate(rate: RoundRate, draws: Draws): number {
  if (rate.type === "exponential") return Math.min(1, draws.exponential(1 / rate.rate));
  const { mean, correlation } = rate;
  const scale = 1 / correlation - 1;
  return draws.beta(mean * scale, (1 - mean) * scale);
}

/** Failures per hour that lose `share` of tasks as long as `duration`. */
export const hazardLosing = (share: number, duration: Millis): number => (-Math.log(1 - share) * 3_600_000) / duration;
