/** Ways to choose clients that several samplers share. */
import { type ClientId, clientId } from "../../base/ids.ts";
import type { Draws } from "../../base/random.ts";
import type { Fleet } from "../../sim/fleet/fleet.ts";
import type { Candidates, History } from "../sampler.ts";

export const ascending = (clients: Iterable<ClientId>): ClientId[] => [...clients].sort((a, b) => a - b);

/** All eligible clients, ascending: one scan of the fleet. */
export function allEligible(candidates: Candidates): ClientId[] {
  const eligible: ClientId[] = [];
  for (let row = 0; row < candidates.fleet.size; row++) {
    const client = clientId(row);
    if (candidates.isEligible(client)) eligible.push(client);
  }
  return eligible;
}

/**
 * Uniform choice of `count` distinct clients that pass `isEligible`, ascending; fewer when fewer pass.
 *
 * Rows of the fleet are drawn until enough eligible ones have come up, so a cohort out of a million available clients
 * costs a cohort and not a million; when few are eligible, one scan of the fleet finds them exactly. Both ways give
 * every set of `count` eligible clients the same probability.
 */
export function sampleEligible(
  { fleet }: Candidates,
  count: number,
  draws: Draws,
  isEligible: (client: ClientId) => boolean,
): ClientId[] {
  const chosen = new Set<ClientId>();
  // As many misses as the fleet has rows cost as much as the scan that would have been exact.
  for (let attempts = 0; attempts < fleet.size && chosen.size < count; attempts++) {
    const client = clientId(draws.below(fleet.size));
    if (!chosen.has(client) && isEligible(client)) chosen.add(client);
  }
  if (chosen.size < count) {
    const rest: ClientId[] = [];
    for (let row = 0; row < fleet.size; row++) {
      const client = clientId(row);
      if (!chosen.has(client) && isEligible(client)) rest.push(client);
    }
    const missing = Math.min(count - chosen.size, rest.length);
    for (const index of draws.sample(rest.length, missing)) chosen.add(rest[index]!);
  }
  return ascending(chosen);
}

/**
 * `count` of `clients`, drawn one after the other without replacement, each time in proportion to the weights left.
 * Clients of weight 0 are never drawn.
 *
 * Everyone gets an exponential waiting time with their weight as rate, and the first to ring are drawn.
 * Efraimidis, Spirakis, "Weighted random sampling with a reservoir", 2006. https://doi.org/10.1016/j.ipl.2005.11.003
 */
export function sampleWeighted(
  clients: readonly ClientId[],
  weights: ArrayLike<number>,
  count: number,
  draws: Draws,
): ClientId[] {
  const waits = new Float64Array(clients.length);
  for (let i = 0; i < clients.length; i++) waits[i] = weights[i]! > 0 ? -draws.exponential(1) / weights[i]! : -Infinity;
  return highest(waits, count).map((index) => clients[index]!);
}

/**
 * `count` of the eligible clients in proportion to their number of examples, ascending. A client without examples is
 * never drawn.
 *
 * Drawing a row uniformly and keeping it with probability n_i / max n does the same without a sum over the eligible;
 * when that misses too often, one scan finishes the choice exactly.
 */
export function sampleByExamples(candidates: Candidates, count: number, draws: Draws): ClientId[] {
  const { fleet } = candidates;
  let most = 0;
  for (let row = 0; row < fleet.size; row++) most = Math.max(most, fleet.examples[row]!);
  const chosen = new Set<ClientId>();
  for (let attempts = 0; attempts < fleet.size && chosen.size < count; attempts++) {
    const client = clientId(draws.below(fleet.size));
    const kept = draws.uniform() * most < fleet.examples[client]!;
    if (kept && !chosen.has(client) && candidates.isEligible(client)) chosen.add(client);
  }
  if (chosen.size < count) {
    const rest = allEligible(candidates).filter((client) => !chosen.has(client));
    const weights = rest.map((client) => fleet.examples[client]!);
    for (const client of sampleWeighted(rest, weights, count - chosen.size, draws)) chosen.add(client);
  }
  return ascending(chosen);
}

/** Where the `count` highest scores are, ascending; of equal ones the lower index, and −Infinity never. */
export function highest(scores: Float64Array, count: number): number[] {
  const wanted = Math.min(count, scores.length);
  if (wanted <= 0) return [];
  // Sorting bare numbers is an order of magnitude faster than sorting a million indices by a comparison.
  const sorted = scores.slice().sort();
  const threshold = sorted[scores.length - wanted]!;
  let ties = wanted - (scores.length - 1 - sorted.lastIndexOf(threshold));
  const indices: number[] = [];
  for (let index = 0; index < scores.length; index++) {
    const score = scores[index]!;
    if (score > threshold || (score === threshold && score > -Infinity && ties-- > 0)) indices.push(index);
  }
  return indices;
}

/**
 * Milliseconds a participation of the client takes: as last seen, or before that what its device and data suggest,
 * transfers left out.
 */
export function expectedDuration(fleet: Fleet, history: Pick<History, "duration"> | null, client: ClientId): number {
  const seen = history === null ? Number.NaN : history.duration[client]!;
  if (!Number.isNaN(seen)) return seen;
  return (fleet.tokens[client]! / fleet.tokensPerSecond[client]!) * 1_000 + 2 * fleet.latency[client]!;
}
