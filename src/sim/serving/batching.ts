/**
 * Which of the waiting requests share a batch.
 *
 *   arrival   those that have waited longest
 *   experts   one queue for each expert: all of the longest queue, then of the next, until the batch is full, so that it
 *             needs few experts. Who was passed over too often goes first.
 */
export type Batching = "arrival" | "experts";

export interface Waiting {
  readonly request: number;
  /** What its next token needs; its first expert says in which queue it stands. */
  readonly experts: readonly number[];
  /** Batches since it began to wait. */
  readonly passed: number;
}

/**
 * @param waiting in the order in which they came
 * @param patience batches after which a request goes first
 * @returns at most `most` of them, and the rest, in the order in which they would be taken
 */
export function nextBatch(
  waiting: readonly Waiting[],
  batching: Batching,
  most: number,
  patience: number,
): { readonly batch: readonly Waiting[]; readonly rest: readonly Waiting[] } {
  const ordered = batching === "arrival" ? waiting : byExperts(waiting, patience);
  return { batch: ordered.slice(0, most), rest: ordered.slice(most) };
}

/** Queues of equal length go by the expert's number. */
function byExperts(waiting: readonly Waiting[], patience: number): readonly Waiting[] {
  const queues = new Map<number, Waiting[]>();
  for (const one of waiting) {
    if (one.passed >= patience) continue;
    const expert = one.experts[0]!;
    queues.set(expert, [...(queues.get(expert) ?? []), one]);
  }
  const longest = [...queues].sort(([a, one], [b, other]) => other.length - one.length || a - b);
  return [...waiting.filter(({ passed }) => passed >= patience), ...longest.flatMap(([, queue]) => queue)];
}
