/**
 * Actors between turns: bytes, and only for those whose state is no longer the one they were hydrated with. A fleet of
 * a million idle clients has no entry here.
 */
import type { Snapshot } from "../base/snapshot.ts";
import { decode, encode } from "./messages/codec.ts";

export type StateRecord = readonly [kind: string, id: number, bytes: Uint8Array];

export class StateStore implements Snapshot<readonly StateRecord[]> {
  readonly #kinds = new Map<string, Map<number, Uint8Array>>();

  /** Actors that have an entry. */
  get count(): number {
    let count = 0;
    for (const states of this.#kinds.values()) count += states.size;
    return count;
  }

  get(kind: string, id: number): unknown {
    const bytes = this.#kinds.get(kind)?.get(id);
    return bytes === undefined ? undefined : decode(bytes);
  }

  put(kind: string, id: number, state: unknown): void {
    this.#states(kind).set(id, encode(state));
  }

  /** Sorted, so that equal stores give equal snapshots whatever order they were filled in. */
  snapshot(): readonly StateRecord[] {
    const records = [...this.#kinds].flatMap(([kind, states]) =>
      [...states].map(([id, bytes]): StateRecord => [kind, id, bytes]),
    );
    return records.sort(([kindA, a], [kindB, b]) => (kindA === kindB ? a - b : kindA < kindB ? -1 : 1));
  }

  restore(records: readonly StateRecord[]): void {
    this.#kinds.clear();
    for (const [kind, id, bytes] of records) this.#states(kind).set(id, bytes);
  }

  #states(kind: string): Map<number, Uint8Array> {
    let states = this.#kinds.get(kind);
    if (states === undefined) {
      states = new Map();
      this.#kinds.set(kind, states);
    }
    return states;
  }
}
