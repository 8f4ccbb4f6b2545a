/**
 * A layer's expert slots on a device: what is not there is loaded, and another expert makes room for it.
 *
 *   lru      the expert whose last use lies furthest back
 *   fifo     the one that was loaded first
 *   lfu      the one that was used least often; of these the one whose last use lies furthest back
 *   belady   the one whose next use lies furthest ahead, as far as uses are known; ties go to the higher number
 *
 * Belady, "A study of replacement algorithms for virtual-storage computers", 1966: no policy has more hits than the last
 * one where all uses are known.
 */
export const evictions = ["lru", "fifo", "lfu", "belady"] as const;
export type Eviction = (typeof evictions)[number];

/** When an expert will be used next, in any unit; `Infinity` where nobody knows of a use. */
export type NextUse = (expert: number) => number;

interface Held {
  readonly loaded: number;
  readonly last: number;
  readonly uses: number;
}

export class ExpertCache {
  readonly #capacity: number;
  readonly #eviction: Eviction;
  readonly #held = new Map<number, Held>();
  /** Uses of every expert that was ever here. */
  readonly #uses = new Map<number, number>();
  #clock = 0;

  /** @param capacity slots; with none, nothing is ever held */
  constructor(capacity: number, eviction: Eviction) {
    this.#capacity = capacity;
    this.#eviction = eviction;
  }

  has(expert: number): boolean {
    return this.#held.has(expert);
  }

  /** Whether the expert was there. If it was not, it is now. */
  use(expert: number, next: NextUse): boolean {
    const now = this.#clock++;
    const uses = (this.#uses.get(expert) ?? 0) + 1;
    this.#uses.set(expert, uses);
    const held = this.#held.get(expert);
    if (held === undefined && this.#capacity > 0) {
      if (this.#held.size === this.#capacity) this.#held.delete(this.#leastWanted(next));
    }
    if (this.#capacity > 0) this.#held.set(expert, { loaded: held?.loaded ?? now, last: now, uses });
    return held !== undefined;
  }

  #leastWanted(next: NextUse): number {
    const keep: (expert: number, held: Held) => readonly [number, number] = {
      lru: (_: number, { last }: Held) => [last, 0] as const,
      fifo: (_: number, { loaded }: Held) => [loaded, 0] as const,
      lfu: (_: number, { uses, last }: Held) => [uses, last] as const,
      belady: (expert: number) => [-next(expert), -expert] as const,
    }[this.#eviction];
    const ranked = [...this.#held].map(([expert, held]) => ({ expert, value: keep(expert, held) }));
    ranked.sort(({ value: a }, { value: b }) => (a[0] === b[0] ? a[1] - b[1] : a[0] < b[0] ? -1 : 1));
    return ranked[0]!.expert;
  }
}

/**
 * @internal Hits of a trace of experts, one use after the other.
 *
 * @param lookahead how many uses ahead are known; all unless given
 */
export function hitsOf(
  trace: readonly number[],
  { capacity, eviction, lookahead = Infinity }: { capacity: number; eviction: Eviction; lookahead?: number },
): number {
  const cache = new ExpertCache(capacity, eviction);
  let hits = 0;
  for (const [at, expert] of trace.entries()) {
    const next = (other: number): number => {
      const use = trace.indexOf(other, at + 1);
      return use < 0 || use - at > lookahead ? Infinity : use;
    };
    if (cache.use(expert, next)) hits++;
  }
  return hits;
}
