/**
 * Tasks that are with workers elsewhere. One that takes much longer than any before it is given to another worker as well:
 * the first result counts, so whoever says for ever that it works takes a place and nothing else.
 */
import type { Parcel } from "./nats-wire.ts";
import type { EncodedTask, Task } from "./pool.ts";

export interface Order {
  readonly task: Task;
  readonly encoded: EncodedTask;
  readonly isWanted: () => boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** Once it has been sent. */
  job: Parcel | null;
  /** How often it was sent, and how often that went wrong. */
  sendings: number;
  attempts: number;
  /** Whether a result is being read: there may be any number of them, of any size. */
  isRead: boolean;
  isDone: boolean;
}

/** An order under the number by which a worker knows it. */
export interface Sent {
  readonly id: number;
  readonly order: Order;
  /** Beats that a worker is left alone with it, in the longest tasks so far. */
  readonly patience: number;
  beats: number;
  /** Whether the queue has confirmed it. */
  isQueued: boolean;
}

/** What counts as long, in the longest task that came back. */
const muchLonger = 4;

export class Orders {
  readonly #sent = new Map<number, Sent>();
  #next = 0;
  /** Beats. */
  #longest: number;

  /** @param patience beats that any task may take */
  constructor(patience: number) {
    this.#longest = patience / muchLonger;
  }

  get size(): number {
    return this.#sent.size;
  }

  get all(): readonly Sent[] {
    return [...this.#sent.values()];
  }

  get(id: number): Sent | undefined {
    return this.#sent.get(id);
  }

  has(sent: Sent): boolean {
    return this.#sent.has(sent.id);
  }

  send(order: Order): Sent {
    const patience = muchLonger * 2 ** order.sendings++;
    const sent = { id: this.#next++, order, patience, beats: 0, isQueued: false };
    this.#sent.set(sent.id, sent);
    return sent;
  }

  /** Whoever still works at it works for nobody. */
  drop(order: Order): void {
    for (const { id, order: other } of this.all) if (other === order) this.#sent.delete(id);
  }

  /** Its result has come. */
  finish({ order, beats }: Sent): void {
    this.#longest = Math.max(this.#longest, beats);
    order.isDone = true;
    this.drop(order);
  }

  /** @returns those that have taken too long just now */
  beat(): Sent[] {
    return this.all.filter((sent) => {
      const before = sent.beats++;
      const limit = sent.patience * this.#longest;
      return before < limit && sent.beats >= limit && !sent.order.isRead;
    });
  }
}
