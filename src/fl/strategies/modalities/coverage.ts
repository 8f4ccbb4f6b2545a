/**
 * Clients that stand for all: facility location, greedily. A client covers another as well as its gradient is near.
 *
 *   j* = argmin over candidates of Σ_i min(cover_i, D_ij),   then cover_i ← min(cover_i, D_ij*)
 *
 * With all as candidates, the gain Σ_i cover_i − min(cover_i, D_ij) of a pick never exceeds that of the one before, and
 * the whole is at least 1 − 1/e of the best.
 * Nemhauser, Wolsey, Fisher, "An analysis of approximations for maximizing submodular set functions", 1978.
 */
import type { Draws } from "../../../base/random.ts";

/** @internal How far each of `clients` is from whoever covers it; nobody does yet. */
export const uncovered = (clients: number): Float64Array => new Float64Array(clients).fill(Infinity);

/** @internal Σ_i min(cover_i, D_ij). @param distances D, `[clients, clients]`, symmetric */
export function costOf(candidate: number, distances: Float64Array, cover: Float64Array): number {
  const row = candidate * cover.length;
  let cost = 0;
  for (let i = 0; i < cover.length; i++) cost += Math.min(cover[i]!, distances[row + i]!);
  return cost;
}

/** @internal The candidate of least cost, of equal ones the first. */
export function bestOf<Candidate extends number>(
  candidates: readonly [Candidate, ...Candidate[]],
  distances: Float64Array,
  cover: Float64Array,
): Candidate {
  let [best] = candidates;
  let least = Infinity;
  for (const candidate of candidates) {
    const cost = costOf(candidate, distances, cover);
    if (cost < least) [best, least] = [candidate, cost];
  }
  return best;
}

/** @internal Distances stay as they are: the cover is a copy. */
export const coveredBy = (pick: number, distances: Float64Array, cover: Float64Array): Float64Array =>
  cover.map((distance, i) => Math.min(distance, distances[pick * cover.length + i]!));

/**
 * D with the rows and columns of some clients measured anew.
 *
 * @param points `[clients, width]`, of which coordinates `[from, until)` count
 */
export function measured(
  before: Float64Array,
  points: Float32Array,
  changed: readonly number[],
  { clients, from, until }: { readonly clients: number; readonly from: number; readonly until: number },
): Float64Array {
  const distances = before.slice();
  const width = points.length / clients;
  for (const one of changed) {
    for (let other = 0; other < clients; other++) {
      let square = 0;
      for (let i = from; i < until; i++) square += (points[one * width + i]! - points[other * width + i]!) ** 2;
      distances[one * clients + other] = Math.sqrt(square);
      distances[other * clients + one] = Math.sqrt(square);
    }
  }
  return distances;
}

/** What is known of all clients when some are to be chosen. */
export interface Knowledge {
  /** D between whole gradients, and between those of each encoder, `[clients, clients]`. */
  readonly joint: Float64Array;
  readonly alone: readonly [a: Float64Array, v: Float64Array];
  /** ρ_k, above 1 where modality 0 dominates. */
  readonly rho: Float64Array;
  /** ρ of all clients together. */
  readonly imbalance: number;
}

/** A client, and the one modality that it is to train; null for all it has. */
interface Pick<Client> {
  readonly client: Client;
  readonly modality: number | null;
}

/**
 * `count` of the eligible, or all where there are fewer, each from a random part of those that are left.
 *
 * @param share of all clients that are candidates for a pick, at least `count` of them
 */
export function choose<Client extends number>(
  eligible: readonly Client[],
  count: number,
  { joint, alone, rho, imbalance }: Knowledge,
  { threshold, share }: { readonly threshold: number; readonly share: number },
  draws: Draws,
): Pick<Client>[] {
  const weak = imbalance > 1 ? 1 : 0;
  const leans = (client: Client) => (weak === 1 ? rho[client]! > threshold : rho[client]! < 1 / threshold);
  const size = Math.max(count, Math.ceil(share * rho.length));
  const left = new Set(eligible);
  const picks: Pick<Client>[] = [];
  let cover = uncovered(rho.length);
  let weakCover = cover;
  while (picks.length < count && left.size > 0) {
    const all = [...left];
    const drawn = draws.sample(all.length, Math.min(size, all.length)).map((at) => all[at]!);
    const candidates = drawn as [Client, ...Client[]];
    const strayed = bestOf(candidates, alone[weak], weakCover);
    const isAlone = leans(strayed);
    const client = isAlone ? strayed : bestOf(candidates, joint, cover);
    if (isAlone) weakCover = coveredBy(client, alone[weak], weakCover);
    else cover = coveredBy(client, joint, cover);
    left.delete(client);
    picks.push({ client, modality: isAlone ? weak : null });
  }
  return picks;
}
