/** The context of one turn. What it holds and lets go takes effect when the turn commits; afterwards it is dead. */
import { invariant } from "../base/errors.ts";
import type { Rng } from "../base/random.ts";
import type { Millis } from "../base/units.ts";
import type { ActorEvent, TurnContext } from "./actor.ts";
import type { BlobStore } from "./messages/blobs.ts";
import type { BlobRef, Held, PledgeRef, Ref } from "./messages/refs.ts";
import type { PledgeBook, Recipe } from "./pledges.ts";

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

/** A list that is filled and emptied again and again, and keeps its room. */
class Pile<Item> {
  readonly #items: (Item | undefined)[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  at(place: number): Item {
    return this.#items[place]!;
  }

  add(item: Item): void {
    this.#items[this.#count++] = item;
  }

  clear(): void {
    while (this.#count > 0) this.#items[--this.#count] = undefined;
  }
}

/** Where turns are held, one after the other: what they have in common, and the lists each of them fills. */
export class Desk {
  readonly rng: Rng;
  readonly holdings: Holdings;
  readonly made = new Pile<Held>();
  readonly discarded = new Pile<Held>();
  /** To tell onlookers of. */
  readonly events = new Pile<ActorEvent>();

  constructor(rng: Rng, holdings: Holdings) {
    this.rng = rng;
    this.holdings = holdings;
  }
}

export class Turn implements TurnContext {
  readonly now: Millis;
  readonly self: Ref;
  readonly services: unknown;
  readonly #desk: Desk;
  #hasEnded = false;

  constructor(now: Millis, self: Ref, services: unknown, desk: Desk) {
    this.now = now;
    this.self = self;
    this.services = services;
    this.#desk = desk;
  }

  get rng(): Rng {
    return this.#desk.rng;
  }

  put(content: Uint8Array | Float32Array): BlobRef {
    this.#assertGoingOn();
    return this.#make(this.#desk.holdings.blobs.put(content));
  }

  pledge<Result>(recipe: Recipe): PledgeRef<Result> {
    this.#assertGoingOn();
    return this.#make(this.#desk.holdings.pledges.pledge(recipe)) as PledgeRef<Result>;
  }

  start(pledge: PledgeRef): void {
    this.#assertGoingOn();
    this.#desk.holdings.pledges.start(pledge);
  }

  async open<Result>(pledges: readonly PledgeRef<Result>[]): Promise<Result[]> {
    this.#assertGoingOn();
    return (await this.#desk.holdings.pledges.open(pledges)) as Result[];
  }

  keep<Content extends Held>(content: Content): Content {
    this.#assertGoingOn();
    this.#desk.holdings.retain(content);
    return content;
  }

  discard(content: Held): void {
    this.#assertGoingOn();
    this.#desk.discarded.add(content);
  }

  bytes(ref: BlobRef): Uint8Array {
    return this.#desk.holdings.blobs.bytes(ref);
  }

  floats(ref: BlobRef): Float32Array {
    return this.#desk.holdings.blobs.floats(ref);
  }

  emit(event: ActorEvent): void {
    this.#assertGoingOn();
    this.#desk.events.add(event);
  }

  /**
   * Called once the turn's effects hold what they need: lets go what was discarded, what came with the message, and
   * what the turn made and nobody holds. Its events are left on the desk.
   */
  end(received: readonly Held[]): void {
    const { holdings, made, discarded } = this.#desk;
    this.#hasEnded = true;
    for (let i = 0; i < discarded.count; i++) holdings.release(discarded.at(i));
    for (const content of received) holdings.release(content);
    for (let i = 0; i < made.count; i++) holdings.drop(made.at(i));
    discarded.clear();
    made.clear();
  }

  #make<Content extends Held>(content: Content): Content {
    this.#desk.made.add(content);
    return content;
  }

  #assertGoingOn(): void {
    invariant(!this.#hasEnded, () => `${this.self.kind} used the context of a turn that has ended`);
  }
}
