/**
 * Worlds by name: what to spread over a tier, and what to let happen to it.
 *
 *   preset   compute                   network                        availability               failure
 *   ideal    equal                     infinite                       always                     none
 *   mild     log-normal, σ 0.3         log-normal, σ 0.47 / 0.68      Bernoulli 0.9              2 %
 *   phones   log-normal, σ 0.9, and    FLASH's WiFi profiles, cv 0.4  two-state, 2 h on, share   hazard that loses 8 % of
 *            cv 0.2 from task to task  from message to message        0.25, swinging 4 : 1       median tasks
 *   harsh    Pareto, α = 2             phones ÷ 4                     goes with the labels (YC)  beta-binomial, μ 0.2, ρ 0.1
 *   silo     log-normal, σ 0.3         100 MB/s                       always                     shocks, ν 0.01
 *
 * The combination is a choice of this project; the single figures come from the sources named where they are defined.
 */
import { hours, type Millis, minutes } from "../base/units.ts";
import { amplitudeOf } from "./availability/availability-random.ts";
import { flashLink, type LinkLaw } from "./fleet/links.ts";
import type { SpeedLaw } from "./fleet/speed-laws.ts";
import { hazardLosing } from "./flight/faults.ts";
import { defaultWorldSpec, type WorldSpec } from "./world-spec.ts";

export const presetNames = ["ideal", "mild", "phones", "harsh", "silo"] as const;
export type PresetName = (typeof presetNames)[number];

export interface PresetOptions {
  /** Of the tier's devices. */
  readonly medianTokensPerSecond: number;
  /** How long the median client's part in a round takes: sets the hazard and the deadline. */
  readonly medianTask: Millis;
}

export interface Preset {
  readonly speed: SpeedLaw;
  readonly link: LinkLaw;
  readonly world: WorldSpec;
  /** What the server should do about it. `deadline` null: wait for all. */
  readonly server: {
    readonly overSelection: number;
    readonly deadline: Millis | null;
    /** Share of the cohort without which a round fails. */
    readonly minimumShare: number;
  };
}

const waitForAll = { overSelection: 1, deadline: null, minimumShare: 0 } as const;

/** Fast enough that a message takes its latency and no more. */
const infinite: LinkLaw = { type: "rates", down: 1e15, up: 1e15 };

export function preset(name: PresetName, { medianTokensPerSecond: median, medianTask }: PresetOptions): Preset {
  const impatient = { overSelection: 1.3, deadline: (3 * medianTask) as Millis, minimumShare: 0 };
  switch (name) {
    case "ideal":
      return {
        speed: { type: "tokens-per-second", law: median },
        link: infinite,
        world: defaultWorldSpec,
        server: waitForAll,
      };
    case "mild":
      return {
        speed: logNormal(median, 0.3),
        link: flashLink(),
        world: {
          ...defaultWorldSpec,
          availability: [{ type: "bernoulli", probability: 0.9, slot: minutes(10) }],
          faults: { training: 0.02 },
        },
        server: waitForAll,
      };
    case "phones":
      return {
        speed: logNormal(median, 0.9),
        link: flashLink(),
        world: phones(medianTask),
        server: impatient,
      };
    case "harsh":
      return {
        // The median of a Pareto time is 2^(1/α) times its minimum.
        speed: { type: "pareto", fastest: median * Math.SQRT2, alpha: 2 },
        link: flashLink(1 / 4),
        world: {
          ...phones(medianTask),
          availability: [{ type: "data", rule: "YC", beta: 0.5, slot: hours(1), period: 24 }],
          faults: { roundRate: { type: "beta", mean: 0.2, correlation: 0.1 } },
        },
        server: impatient,
      };
    case "silo":
      return {
        speed: logNormal(median, 0.3),
        link: { type: "rates", down: 100e6, up: 100e6 },
        world: { ...defaultWorldSpec, faults: { shocks: { probability: 0.01, severity: 1 } } },
        server: { ...waitForAll, minimumShare: 0.8 },
      };
  }
}

const logNormal = (median: number, sigma: number): SpeedLaw => ({
  type: "tokens-per-second",
  law: { type: "log-normal", median, sigma },
});

/** Bonawitz et al. 2019 for the daily swing and the share lost; peak at two at night. */
const phones = (medianTask: Millis): WorldSpec => ({
  ...defaultWorldSpec,
  network: { taskVariation: { down: 0.4, up: 0.4 } },
  compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } },
  availability: [
    {
      type: "two-state",
      onShare: 0.25,
      meanOn: hours(2),
      diurnal: { amplitude: amplitudeOf(4), peakAt: hours(2) },
    },
  ],
  faults: { hazardPerHour: hazardLosing(0.08, medianTask) },
});
