/**
 * TiFL: a round takes its clients from one latency tier, so that it does not wait for a slow one among fast ones.
 *
 * Clients are sorted by duration and cut into tiers of equal size; every `interval` rounds they are sorted anew. A tier
 * is drawn, then clients in it, uniformly. All tiers begin equally likely. When the tier last used has stopped
 * improving, tiers are ranked by loss and drawn with weights n, n − 1, …, 1, worst first. Each choice costs a tier one
 * of its credits, of which slow tiers have fewer; when nobody has any left, all are refilled. The loss of a tier is the
 * mean training loss its clients last reported.
 * Chai et al., "TiFL", 2020. https://arxiv.org/abs/2001.09249
 */
import * as z from "zod";
import { type ClientId, clientId } from "../../base/ids.ts";
import { expected, type Problem } from "../../base/problem.ts";
import type { Draws } from "../../base/random.ts";
import { formatTime } from "../../base/units.ts";
import type { Fleet } from "../../sim/fleet/fleet.ts";
import { type Candidates, defineSampler, type SamplerBehaviour } from "../sampler.ts";
import { expectedDuration, sampleEligible } from "./choose.ts";

const tiflFields = {
  tiers: z.int().min(1).max(255).default(5).describe("T, tiers of equal size that clients are sorted into by duration"),
  interval: z.int().min(1).default(10).describe("I, rounds after which clients are sorted anew"),
  credits: z
    .int()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "credits of the fastest tier; tier τ of T has ⌈credits · (T − τ) / T⌉. Null lets tiers be chosen without limit",
    ),
  adaptive: z.boolean().default(true).describe("false keeps all tiers equally likely"),
  latencyCap: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe("clients slower than this many milliseconds are in no tier; null takes everyone"),
};

type TiflOptions = z.output<z.ZodObject<typeof tiflFields>>;

/** @internal */
export interface TiflState {
  /** Round of the last profile. */
  readonly profiledAt: number;
  /** Each client's tier, 0 fastest; 255 for excluded clients. */
  readonly tierOf: Uint8Array;
  readonly credits: readonly number[];
  /** Mean loss per tier at the last profile, in nats; null where nothing is known. */
  readonly losses: readonly (number | null)[];
  /** Unnormalised probability of each tier. */
  readonly weights: readonly number[];
  /** The tier chosen last; null before the first choice. */
  readonly last: number | null;
}

const excluded = 255;

export const tifl = defineSampler({
  type: "tifl",
  is: "clients of one tier of speed at a time",
  options: tiflFields,
  name: ({ tiers }) => `tifl(${tiers})`,
  make: (options): SamplerBehaviour<TiflState> => ({
    needsLosses: options.adaptive,
    select(candidates, count, draws) {
      const { tierOf, credits, weights } = profiled(options, candidates);
      const open = weights.map((weight, tier) => (credits[tier]! > 0 ? weight : 0));
      const spent = weights.map((weight, tier) => (credits[tier]! > 0 ? 0 : weight));
      // A tier whose clients are all away passes its turn on, in the end also to tiers without credits.
      for (const choice of [open, spent]) {
        for (let tier = drawTier(choice, draws); tier !== null; tier = drawTier(choice, draws)) {
          const isMember = (client: ClientId) => tierOf[client] === tier && candidates.isEligible(client);
          const chosen = sampleEligible(candidates, count, draws, isMember);
          if (chosen.length > 0) return chosen;
          choice[tier] = 0;
        }
      }
      return [];
    },
    nextState(candidates, chosen) {
      const state = profiled(options, candidates);
      const [first] = chosen;
      if (first === undefined) return state;
      const last = state.tierOf[first]!;
      const credits = state.credits.map((left, tier) => (tier === last ? Math.max(0, left - 1) : left));
      return { ...state, last, credits: credits.some((left) => left > 0) ? credits : fullCredits(options) };
    },
    problems: (fleet, needed) => tooSmallTiers(options, fleet, needed),
  }),
});

/**
 * A round takes its clients from one tier, and who is too slow at first is in none for ever: only those that were
 * invited are known to be faster.
 */
function tooSmallTiers({ tiers, latencyCap }: TiflOptions, fleet: Fleet, needed: number): Problem[] {
  let fastest = Infinity;
  let included = 0;
  for (let client = 0; client < fleet.size; client++) {
    const duration = expectedDuration(fleet, null, clientId(client));
    fastest = Math.min(fastest, duration);
    if (latencyCap === null || duration <= latencyCap) included++;
  }
  const largest = Math.ceil(included / tiers);
  if (largest >= needed) return [];
  const enough = needed === 1 ? "a client" : `${needed} clients`;
  if (latencyCap !== null && included < needed) {
    const wanted = `expected milliseconds that let ${enough} in: the fastest takes ${formatTime(fastest)}`;
    return [{ path: "latencyCap", text: `is ${latencyCap} (${formatTime(latencyCap)}), ${wanted}` }];
  }
  const wanted = `tiers of at least ${enough}, the quorum: ${included} clients make tiers of ${largest}`;
  return [expected("tiers", wanted, tiers)];
}

/** @internal Probabilities of tiers with these mean losses: weights n…1 from the highest loss down, over n(n + 1)/2. */
export function adaptiveProbabilities(losses: readonly number[]): number[] {
  const n = losses.length;
  const probabilities = new Array<number>(n).fill(0);
  const worstFirst = losses.map((loss, tier) => ({ loss, tier })).sort((a, b) => b.loss - a.loss || a.tier - b.tier);
  for (const [rank, { tier }] of worstFirst.entries()) probabilities[tier] = (n - rank) / ((n * (n + 1)) / 2);
  return probabilities;
}

const fullCredits = ({ credits, tiers }: TiflOptions): number[] =>
  Array.from({ length: tiers }, (_, tier) =>
    credits === null ? Number.MAX_SAFE_INTEGER : Math.ceil((credits * (tiers - tier)) / tiers),
  );

/** The state for this round: profiled anew in the first round and then every `interval` rounds. */
function profiled(options: TiflOptions, candidates: Candidates<TiflState>): TiflState {
  const { state, round } = candidates;
  if (state !== undefined && round - state.profiledAt < options.interval) return state;
  const tierOf = cutIntoTiers(options, candidates);
  const losses = meanLosses(options, candidates, state?.tierOf ?? tierOf);
  const equal = new Array<number>(options.tiers).fill(1 / options.tiers);
  const stuck = state !== undefined && hasStopped(state, losses);
  return {
    profiledAt: round,
    tierOf,
    losses,
    credits: state?.credits ?? fullCredits(options),
    // A tier nobody has reported from yet ranks worst, so it is soon tried.
    weights:
      options.adaptive && stuck
        ? adaptiveProbabilities(losses.map((loss) => loss ?? Infinity))
        : (state?.weights ?? equal),
    last: state?.last ?? null,
  };
}

function hasStopped({ last, losses: before }: TiflState, now: readonly (number | null)[]): boolean {
  if (last === null) return false;
  const [then, current] = [before[last] ?? null, now[last] ?? null];
  return then !== null && current !== null && current >= then;
}

function cutIntoTiers({ tiers, latencyCap }: TiflOptions, { fleet, history }: Candidates): Uint8Array {
  const durations = new Float64Array(fleet.size);
  for (let row = 0; row < fleet.size; row++) durations[row] = expectedDuration(fleet, history, clientId(row));
  const rows = Uint32Array.from({ length: fleet.size }, (_, row) => row)
    .filter((row) => latencyCap === null || durations[row]! <= latencyCap)
    .sort((a, b) => durations[a]! - durations[b]! || a - b);
  const tierOf = new Uint8Array(fleet.size).fill(excluded);
  for (const [rank, row] of rows.entries()) tierOf[row] = Math.floor((rank * tiers) / rows.length);
  return tierOf;
}

function meanLosses({ tiers }: TiflOptions, { history }: Candidates, tierOf: Uint8Array): (number | null)[] {
  const sums = new Float64Array(tiers);
  const counts = new Uint32Array(tiers);
  for (const [row, tier] of tierOf.entries()) {
    const loss = history.loss[row]!;
    if (tier === excluded || Number.isNaN(loss)) continue;
    sums[tier]! += loss;
    counts[tier]!++;
  }
  return Array.from(counts, (count, tier) => (count === 0 ? null : sums[tier]! / count));
}

function drawTier(weights: readonly number[], draws: Draws): number | null {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return null;
  let left = draws.uniform() * total;
  for (const [tier, weight] of weights.entries()) {
    if (weight > 0 && left < weight) return tier;
    left -= weight;
  }
  return weights.findLastIndex((weight) => weight > 0);
}
