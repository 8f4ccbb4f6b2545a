/** The context of one turn. What it holds and lets go takes effect when the turn commits; afterwards it is dead. */
import { invariant } from "../base/errors.ts";
import type { Rng } from "../base/random.ts";
import type { Millis } from "../base/units.ts";
import type { ActorEvent, Ref, TurnContext } from "./actor.ts";
import type { BlobStore } from "./blobs.ts";
import type { PledgeBook, Recipe } from "./pledges.ts";
import type { BlobRef, Held, PledgeRef } from "./refs.ts";

/** Counts who holds what, blobs and pledges alike. */
export class Holdings {
  readonly blobs: BlobStore;
  readonly pledges: PledgeBook;

  constructor(blobs: BlobStore, pledges: PledgeBook) {
    this.blobs = blobs;
    this.pledges = pledges;
  }

  retain(content: Held): void {
    if (content.ref === "blob") this.blobs.retain(content);
    else this.pledges.retain(content);
  }

  release(content: Held): void {
    if (content.ref === "blob") this.blobs.release(content);
    else this.pledges.release(content);
  }

  drop(content: Held): void {
    if (content.ref === "blob") this.blobs.drop(content);
    else this.pledges.drop(content);
  }
}

/** Its lists are made with their first entry, mostly the only one: an empty array that grows takes room for 17. */
export class Turn implements TurnContext {
  readonly now: Millis;
  readonly self: Ref;
  readonly rng: Rng;
  readonly services: unknown;
  readonly #holdings: Holdings;
  #made: Held[] | null = null;
  #discarded: Held[] | null = null;
  #events: ActorEvent[] | null = null;
  #hasEnded = false;

  constructor(now: Millis, self: Ref, rng: Rng, services: unknown, holdings: Holdings) {
    this.now = now;
    this.self = self;
    this.rng = rng;
    this.services = services;
    this.#holdings = holdings;
  }

  put(content: Uint8Array | Float32Array): BlobRef {
    this.#assertGoingOn();
    return this.#make(this.#holdings.blobs.put(content));
  }

  pledge<Result>(recipe: Recipe): PledgeRef<Result> {
    this.#assertGoingOn();
    return this.#make(this.#holdings.pledges.pledge(recipe)) as PledgeRef<Result>;
  }

  start(pledge: PledgeRef): void {
    this.#assertGoingOn();
    this.#holdings.pledges.start(pledge);
  }

  async open<Result>(pledges: readonly PledgeRef<Result>[]): Promise<Result[]> {
    this.#assertGoingOn();
    return (await this.#holdings.pledges.open(pledges)) as Result[];
  }

  keep<Content extends Held>(content: Content): Content {
    this.#assertGoingOn();
    this.#holdings.retain(content);
    return content;
  }

  discard(content: Held): void {
    this.#assertGoingOn();
    if (this.#discarded === null) this.#discarded = [content];
    else this.#discarded.push(content);
  }

  bytes(ref: BlobRef): Uint8Array {
    return this.#holdings.blobs.bytes(ref);
  }

  floats(ref: BlobRef): Float32Array {
    return this.#holdings.blobs.floats(ref);
  }

  emit(event: ActorEvent): void {
    this.#assertGoingOn();
    if (this.#events === null) this.#events = [event];
    else this.#events.push(event);
  }

  /**
   * Called once the turn's effects hold what they need: lets go what was discarded, what came with the message, and
   * what the turn made and nobody holds.
   *
   * @returns the events to tell onlookers of
   */
  end(received: readonly Held[]): readonly ActorEvent[] {
    this.#hasEnded = true;
    if (this.#discarded !== null) for (const content of this.#discarded) this.#holdings.release(content);
    for (const content of received) this.#holdings.release(content);
    if (this.#made !== null) for (const content of this.#made) this.#holdings.drop(content);
    return this.#events ?? nothing;
  }

  #make<Content extends Held>(content: Content): Content {
    if (this.#made === null) this.#made = [content];
    else this.#made.push(content);
    return content;
  }

  #assertGoingOn(): void {
    invariant(!this.#hasEnded, () => `${this.self.kind} used the context of a turn that has ended`);
  }
}

const nothing: readonly ActorEvent[] = [];
