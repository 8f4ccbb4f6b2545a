/**
 * Tasks that wait for a worker. Some are of a kind that takes a worker long to prepare for, once; which worker does which
 * task is free, as no result depends on it. So one that is prepared for a kind does its tasks first, and the others
 * begin with what nobody is prepared for: not everybody has to prepare for everything.
 */

/** How many tasks a worker chooses from: what comes much later is not done ahead of what is asked for now. */
const lookAhead = 64;

interface Waiting {
  /** What its worker prepares for; null for nothing. */
  readonly kind: string | null;
}

export class WaitingTasks<Order extends Waiting> {
  readonly #orders: Order[] = [];
  /** By thread. */
  readonly #done = new Map<number, Set<string>>();
  /** Kinds that some thread is or has been at. */
  readonly #begun = new Set<string>();

  get size(): number {
    return this.#orders.length;
  }

  push(order: Order): void {
    this.#orders.push(order);
  }

  unshift(order: Order): void {
    this.#orders.unshift(order);
  }

  /** All that wait, which do so no longer. */
  clear(): Order[] {
    return this.#orders.splice(0);
  }

  /** The next task for a thread, null for one that has done nothing yet; undefined where none waits. */
  takeFor(thread: number | null): Order | undefined {
    const own = thread === null ? undefined : this.#done.get(thread);
    let [best, found] = [3, 0];
    for (const [at, { kind }] of this.#orders.slice(0, lookAhead).entries()) {
      const rank = kind === null || own?.has(kind) ? 0 : this.#begun.has(kind) ? 2 : 1;
      if (rank >= best) continue;
      [best, found] = [rank, at];
      if (best === 0) break;
    }
    const [order] = this.#orders.splice(found, 1);
    if (order !== undefined && order.kind !== null) this.#begun.add(order.kind);
    return order;
  }

  /** A thread has done a task of this kind. */
  prepared(thread: number, kind: string | null): void {
    if (kind === null) return;
    const own = this.#done.get(thread) ?? new Set();
    this.#done.set(thread, own.add(kind));
  }
}
