/** Takes rare branches of the program by a seed, and counts them. */
import { type RarePlace, rarePlaces, takeRareBranches } from "../../../src/base/buggify.ts";
import { Rng } from "../../../src/base/random.ts";
import type { Kind } from "./generate.ts";

/** How often each place was taken. */
export type Rare = Partial<Record<RarePlace, number>>;

/** A seed has about half of the places; those that it has it takes one time in four. */
export async function whileRare<Result>(seed: number, taken: Rare, action: () => Promise<Result>): Promise<Result> {
  const rng = new Rng(seed);
  const has = new Set(rarePlaces.filter((place) => rng.at(`swarm takes ${place}`).at(0).bernoulli(0.5)));
  const draws = rng.at("swarm rare branches").at(0);
  takeRareBranches((place) => {
    const isTaken = has.has(place) && draws.bernoulli(1 / 4);
    if (isTaken) taken[place] = (taken[place] ?? 0) + 1;
    return isTaken;
  });
  try {
    return await action();
  } finally {
    takeRareBranches(null);
  }
}

export function addRare(total: Rare, more: Rare): void {
  for (const [place, count] of Object.entries(more) as [RarePlace, number][])
    total[place] = (total[place] ?? 0) + count;
}

/** Places that runs of this kind come by, and were never taken. */
export function neverTaken(kind: Kind, taken: Rare): RarePlace[] {
  const passes = { timing: ["run"], toy: ["run", "work"], training: ["run", "work"], disk: ["run", "file"] }[kind];
  return rarePlaces.filter((place) => passes.includes(place.split(":")[0]!) && taken[place] === undefined);
}
