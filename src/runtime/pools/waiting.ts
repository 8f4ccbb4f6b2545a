/**
 * Tasks that wait for a worker. Which worker does which task, and when, is free, as no result depends on it.
 *
 * Some are of a kind that takes a worker long to prepare for, once. So one that is prepared for a kind does its tasks first,
 * and the others begin with what nobody is prepared for: not everybody has to prepare for everything. Among those that are
 * as good the longest goes first, so that nothing long is left when others have nothing to do any more. What nobody waits
 * for yet is done when there is nothing else, which is at the end of every round.
 */

/** How many tasks a worker chooses from: what comes much later is not done ahead of what is asked for now. */
const lookAhead = 64;

/** How many tasks go ahead of one that nobody waits for: people want to see a round's results soon after it. */
const mostAhead = 8;

/** What is known of a task beforehand. */
export interface Nature {
  /** What its worker prepares for; null for nothing. */
  readonly kind: string | null;
  /** How long it takes, beside others. */
  readonly effort: number;
  /** Whether others may go first. */
  readonly isPatient: boolean;
}

export class WaitingTasks<Order extends Nature> {
  readonly #orders: Order[] = [];
  /** Those that let others go first, and how many tasks had been taken when each came. */
  readonly #patient: Order[] = [];
  readonly #came = new WeakMap<Order, number>();
  #taken = 0;
  /** By thread. */
  readonly #done = new Map<number, Set<string>>();
  /** Kinds that some thread is or has been at. */
  readonly #begun = new Set<string>();

  get size(): number {
    return this.#orders.length + this.#patient.length;
  }

  push(order: Order): void {
    this.#came.set(order, this.#taken);
    (order.isPatient ? this.#patient : this.#orders).push(order);
  }

  /** Puts back one that was taken. */
  unshift(order: Order): void {
    this.#orders.unshift(order);
  }

  /** All that wait, which do so no longer. */
  clear(): Order[] {
    return [...this.#orders.splice(0), ...this.#patient.splice(0)];
  }

  /** The next task for a thread, null for one that has done nothing yet; undefined where none waits. */
  takeFor(thread: number | null): Order | undefined {
    const [first] = this.#patient;
    const isDue = first !== undefined && this.#taken - this.#came.get(first)! >= mostAhead;
    const from = isDue || this.#orders.length === 0 ? this.#patient : this.#orders;
    const own = thread === null ? undefined : this.#done.get(thread);
    const rankOf = ({ kind }: Order) => (kind === null || own?.has(kind) ? 0 : this.#begun.has(kind) ? 2 : 1);
    const [order] = from.slice(0, lookAhead).sort((a, b) => rankOf(a) - rankOf(b) || b.effort - a.effort);
    if (order === undefined) return undefined;
    from.splice(from.indexOf(order), 1);
    this.#taken++;
    if (order.kind !== null) this.#begun.add(order.kind);
    return order;
  }

  /** At most so many that wait, of a kind that is being begun, in the order in which they came. */
  takeAlike(kind: string, isPatient: boolean, most: number): Order[] {
    const from = isPatient ? this.#patient : this.#orders;
    const taken = from.filter((order) => order.kind === kind).slice(0, Math.max(0, most));
    for (const order of taken) from.splice(from.indexOf(order), 1);
    this.#taken += taken.length;
    return taken;
  }

  /** A thread has done a task of this kind. */
  prepared(thread: number, kind: string | null): void {
    if (kind === null) return;
    const own = this.#done.get(thread) ?? new Set();
    this.#done.set(thread, own.add(kind));
  }
}
