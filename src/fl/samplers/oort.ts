/**
 * Oort: invite clients that are both useful and fast, and keep trying new ones.
 *
 *   U_i = |S_i| · √(mean of loss² over its samples)
 *   score_i = (min(U_i, clip) − min U) / range + √(0.1·ln t / last_i),   times (T / d_i)^a if d_i > T
 *
 * t is the round, last_i the client's last counted round, d_i its duration, and T the duration at a percentile of the
 * fleet. A share of the slots explores clients that were never counted, by size and speed; the rest is drawn in
 * proportion to score among the best. A pacer lets slower clients in once those it has stop becoming more useful.
 *
 * A client reports one mean loss, not one per sample, so here U_i = n_i · loss_i, which is the formula for equal sample
 * losses and a lower bound otherwise. Defaults are those of FedScale.
 * Lai et al., "Oort", OSDI 2021. https://arxiv.org/abs/2010.06081
 */
import * as z from "zod";
import { type ClientId, clientId } from "../../base/ids.ts";
import type { Draws } from "../../base/random.ts";
import { type Candidates, defineSampler, type SamplerBehaviour } from "../sampler.ts";
import { allEligible, ascending, expectedDuration, highest, sampleWeighted } from "./choose.ts";

const oortFields = {
  exploration: z
    .number()
    .min(0)
    .max(1)
    .default(0.9)
    .describe("ε, share of invitations to clients that were never counted, in the first round"),
  explorationDecay: z.number().min(0).max(1).default(0.98).describe("factor of ε from round to round"),
  explorationMin: z.number().min(0).max(1).default(0.3).describe("least ε"),
  durationPenalty: z.number().min(0).default(2).describe("a: how hard slowness counts; 0 ignores durations"),
  clipQuantile: z
    .number()
    .positive()
    .max(1)
    .default(0.9)
    .describe("utilities above this quantile count as the quantile"),
  cutOff: z
    .number()
    .min(0)
    .max(1)
    .default(0.05)
    .describe("candidates have at least this share of the score at the cut-off rank"),
  percentile: z
    .number()
    .positive()
    .max(100)
    .default(30)
    .describe("T, beyond which a client is slow, starts at this percentile of durations"),
  paceStep: z
    .number()
    .min(0)
    .default(5)
    .describe("percentiles by which T rises when known clients stop becoming more useful"),
  paceWindow: z.int().min(1).default(20).describe("W, rounds between adjustments of the percentile"),
  exploreWindow: z.number().min(1).default(5).describe("untried clients are drawn from the best of this many per slot"),
  maxExamples: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe("examples beyond this do not make an untried client more attractive; null for no such cap"),
  maxUses: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe("clients counted more often than this rest, but never more than 30 % of the fleet; null for no such cap"),
};

type OortOptions = z.output<z.ZodObject<typeof oortFields>>;

/** @internal */
export interface OortState {
  /** The round the pacer has last seen. */
  readonly round: number;
  readonly percentile: number;
  /** Known clients chosen since the pacer's last step. */
  readonly exploited: readonly ClientId[];
  /** Mean utility of the exploited clients that were counted, one entry a round, at most two windows. */
  readonly utilities: readonly number[];
}

export const oort = defineSampler({
  type: "oort",
  is: "clients that are both useful and fast, and some new ones",
  options: oortFields,
  make: (options): SamplerBehaviour<OortState> => ({
    needsLosses: true,
    select: (candidates, count, draws) => select(options, candidates, count, draws),
    nextState(candidates, chosen) {
      const state = paced(options, candidates);
      const known = chosen.filter((client) => candidates.history.timesCounted[client]! > 0);
      return { ...state, exploited: [...state.exploited, ...known] };
    },
  }),
});

/** @internal ε in a round, counted from 1. */
export const explorationShare = (
  {
    exploration,
    explorationDecay,
    explorationMin,
  }: Pick<OortOptions, "exploration" | "explorationDecay" | "explorationMin">,
  round: number,
): number => Math.max(explorationMin, exploration * explorationDecay ** Math.max(0, round - 1));

/** @internal */
export interface ScoreContext {
  readonly round: number;
  /** Smallest utility, range and clip of the eligible known clients. */
  readonly least: number;
  readonly range: number;
  readonly clip: number;
  /** T in milliseconds, and a. */
  readonly preferredDuration: number;
  readonly durationPenalty: number;
}

/** @internal A known client's score: utility, time since it was last used, speed. */
export function score(
  { utility, lastCounted, duration }: { utility: number; lastCounted: number; duration: number },
  { round, least, range, clip, preferredDuration, durationPenalty }: ScoreContext,
): number {
  const exploitation = (Math.min(utility, clip) - least) / range;
  const uncertainty = Math.sqrt((0.1 * Math.log(Math.max(1, round))) / Math.max(1, lastCounted));
  return (exploitation + uncertainty) * slowness(duration, preferredDuration, durationPenalty);
}

const slowness = (duration: number, preferred: number, penalty: number): number =>
  duration > preferred ? (preferred / duration) ** penalty : 1;

function select(options: OortOptions, candidates: Candidates<OortState>, count: number, draws: Draws): ClientId[] {
  const { fleet, history, round } = candidates;
  const rested = rests(options, candidates);
  const eligible = allEligible(candidates).filter((client) => !rested.has(client));
  const untried = eligible.filter((client) => history.timesCounted[client] === 0);
  const known = eligible.filter((client) => history.timesCounted[client]! > 0);
  const preferredDuration = durationAt(paced(options, candidates).percentile, candidates);

  // Each part takes over the slots that the other cannot fill. Rounded first, as 1 − 0.9 is a little less than 0.1.
  const explore = count - Math.floor(Math.round(count * (1 - explorationShare(options, round)) * 1e6) / 1e6);
  const exploitSlots = Math.min(known.length, Math.max(count - explore, count - untried.length));
  const exploreSlots = Math.min(untried.length, count - exploitSlots);

  const chosen = exploit(options, candidates, known, exploitSlots, preferredDuration, draws);
  const rewards = Float64Array.from(untried, (client) => {
    const size = Math.min(fleet.examples[client]!, options.maxExamples ?? Infinity);
    const duration = expectedDuration(fleet, history, client);
    return Math.max(size, 1e-9) * slowness(duration, preferredDuration, options.durationPenalty);
  });
  const best = highest(rewards, Math.ceil(options.exploreWindow * exploreSlots));
  chosen.push(...drawAmong(best, untried, rewards, exploreSlots, draws));
  return ascending(chosen);
}

/** Draws `slots` known clients, in proportion to score, from those near or above the score at the cut-off rank. */
function exploit(
  options: OortOptions,
  { fleet, history, round }: Candidates,
  known: readonly ClientId[],
  slots: number,
  preferredDuration: number,
  draws: Draws,
): ClientId[] {
  if (slots === 0) return [];
  const utilities = Float64Array.from(known, (client) => utilityOf(client, fleet, history));
  const sorted = utilities.slice().sort();
  const least = sorted[0]!;
  const context: ScoreContext = {
    round,
    least,
    range: Math.max(sorted[sorted.length - 1]! - least, 1e-4),
    clip: sorted[Math.min(Math.floor(sorted.length * options.clipQuantile), sorted.length - 1)]!,
    preferredDuration,
    durationPenalty: options.durationPenalty,
  };
  const scores = Float64Array.from(known, (client, index) => {
    const duration = expectedDuration(fleet, history, client);
    // A score of 0 would keep a client from ever being drawn, even with slots to spare.
    return Math.max(
      score({ utility: utilities[index]!, lastCounted: history.lastCounted[client]!, duration }, context),
      1e-9,
    );
  });
  const descending = scores.slice().sort().reverse();
  const cut = descending[Math.min(slots, descending.length - 1)]! * options.cutOff;
  const above = descending.findLastIndex((value) => value >= cut) + 1;
  return drawAmong(highest(scores, Math.max(above, 10 * slots)), known, scores, slots, draws);
}

/** Draws `count` of the clients at `indices`, in proportion to their weights. */
function drawAmong(
  indices: readonly number[],
  clients: readonly ClientId[],
  weights: Float64Array,
  count: number,
  draws: Draws,
): ClientId[] {
  const pool = indices.map((index) => clients[index]!);
  return sampleWeighted(
    pool,
    Float64Array.from(indices, (index) => weights[index]!),
    count,
    draws,
  );
}

/** n_i · loss_i; without training there is no loss, and the number of examples stands alone. */
function utilityOf(client: ClientId, fleet: Candidates["fleet"], history: Candidates["history"]): number {
  const loss = history.loss[client]!;
  return fleet.examples[client]! * (Number.isNaN(loss) ? 1 : loss);
}

/** T: the duration at a percentile of the whole fleet; at 100 everybody is fast enough. */
function durationAt(percentile: number, { fleet, history }: Candidates): number {
  if (percentile >= 100) return Infinity;
  const durations = new Float64Array(fleet.size);
  for (let row = 0; row < fleet.size; row++) durations[row] = expectedDuration(fleet, history, clientId(row));
  durations.sort();
  return durations[Math.min(Math.floor((fleet.size * percentile) / 100), fleet.size - 1)]!;
}

/** Clients that were counted more than `maxUses` times, most used first, at most 30 % of the fleet. */
function rests({ maxUses }: OortOptions, { fleet, history }: Candidates): ReadonlySet<ClientId> {
  if (maxUses === null) return new Set();
  const tired: ClientId[] = [];
  for (let row = 0; row < fleet.size; row++) if (history.timesCounted[row]! > maxUses) tired.push(clientId(row));
  const uses = Float64Array.from(tired, (client) => history.timesCounted[client]!);
  return new Set(highest(uses, Math.floor(0.3 * fleet.size)).map((index) => tired[index]!));
}

/**
 * The pacer's step, once a round: every W rounds, raise the percentile if the exploited utility of the last W rounds
 * differs by at most 10 % from that of the W before, lower it if by 500 % or more.
 *
 * @internal
 */
export function paced(options: OortOptions, { fleet, history, round, state }: Candidates<OortState>): OortState {
  const before = state ?? { round: 0, percentile: options.percentile, exploited: [], utilities: [] };
  if (before.round === round) return before;
  const counted = before.exploited.filter((client) => history.lastCounted[client]! >= before.round);
  const sum = counted.reduce((total, client) => total + utilityOf(client, fleet, history), 0);
  const window = options.paceWindow;
  const utilities = [...before.utilities, counted.length === 0 ? 0 : sum / counted.length].slice(-2 * window);
  let { percentile } = before;
  if (utilities.length === 2 * window && round % window === 0) {
    const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
    const earlier = total(utilities.slice(0, window));
    const change = Math.abs(total(utilities.slice(window)) - earlier);
    if (change <= 0.1 * earlier) percentile = Math.min(100, percentile + options.paceStep);
    else if (change >= 5 * earlier) percentile = Math.max(options.paceStep, percentile - options.paceStep);
  }
  return { round, percentile, exploited: [], utilities };
}
