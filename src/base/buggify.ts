/**
 * Named places with a branch that is right and rare: under the swarm it is taken often, and what a run comes to stays the
 * same. After FoundationDB's BUGGIFY (Zhou et al., SIGMOD 2021). Elsewhere a place costs one comparison and is never taken.
 */

/** @internal What happens there; the word before the colon says which runs come by. */
export const rarePlaces = [
  "run: the event loop is let in after an event",
  "run: the trace hands over a row at once",
  "run: an actor's state is put away and read back after its turn",
  "work: it begins only when somebody waits for it",
  "work: it is done a second time, as after the death of its worker",
  "work: its result is late",
  "file: a checkpoint in the middle of a round",
  "file: a line is written at once",
  "file: a text is read a few bytes at a time",
  "file: a file is longer than its size said",
  "file: one call writes a few bytes",
] as const;

export type RarePlace = (typeof rarePlaces)[number];

let taken: ((place: RarePlace) => boolean) | null = null;

/** Whether the rare branch is taken this time. */
export const buggify = (place: RarePlace): boolean => taken?.(place) === true;

/** @internal Asked at every place from now on; null: none is taken. */
export function takeRareBranches(decide: typeof taken): void {
  taken = decide;
}
