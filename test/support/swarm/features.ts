/**
 * What a swarm scenario may have switched on. Each feature draws its numbers from a lane of its own, so switching one off
 * leaves all others as they were: that is what lets a failing seed shrink.
 */
import type { Draws } from "../../../src/base/random.ts";
import type { Millis } from "../../../src/base/units.ts";
import type { TimelineEntry } from "../../../src/sim/script/timeline.ts";

export type Fields = Record<string, unknown>;

/** A scenario while features are added to it. */
export interface Draft {
  readonly fleet: Fields[];
  regions: { name: string; share: number }[];
  readonly network: Fields;
  readonly compute: Fields;
  readonly availability: Fields[];
  readonly faults: Fields;
  readonly timeline: TimelineEntry[];
  readonly world: Fields;
  readonly rounds: Fields & { cohort: number };
  readonly training: Fields;
  data: Fields;
  /** Everything else. */
  rest: Fields;
  readonly clients: number;
  /** In (0, 1]: how hard the world is on its clients. Where everything is on at once, someone has to be left to count. */
  readonly severity: number;
}

export type Feature = (draft: Draft, draws: Draws) => void;

export const pick = <Value>(draws: Draws, values: readonly Value[]): Value => values[draws.below(values.length)]!;
export const whole = (draws: Draws, least: number, most: number): number => least + draws.below(most - least + 1);
/** Between the two, uniform in its logarithm. */
export const spread = (draws: Draws, least: number, most: number): number => least * (most / least) ** draws.uniform();
export const span = (draws: Draws, least: number, most: number): Millis =>
  Math.ceil(spread(draws, least, most)) as Millis;

export const second = 1_000;
export const minute = 60_000;
export const hour = 3_600_000;

export const law = (draws: Draws, typical: number): unknown =>
  pick(draws, [
    { type: "uniform", min: typical / 2, max: typical * 2 },
    { type: "normal", mean: typical, sd: typical / 4 },
    { type: "log-normal", median: typical, sigma: 0.8 },
    { type: "log-normal", mean: typical, cv: 0.7 },
    { type: "exponential", mean: typical, minimum: typical / 10 },
    { type: "half-normal", sd: typical, minimum: typical / 10 },
    { type: "pareto", minimum: typical / 2, alpha: 1.5 },
    { type: "weibull", scale: typical, shape: 1.2 },
    { type: "gamma", scale: typical, shape: 1.5 },
  ]);

export const anyTier = (draft: Draft, draws: Draws): Fields => pick(draws, draft.fleet);
export const probability = (draws: Draws, most: number): number => most * draws.uniform();

/** A share of clients, or of time, that is lost. */
export const lost = ({ severity }: Draft, share: number): number => severity * share;
/** One that is left. */
export const left = ({ severity }: Draft, share: number): number => share + (1 - severity) * (1 - share);
