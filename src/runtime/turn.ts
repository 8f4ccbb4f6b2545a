/** The context of one turn. What it holds and releases takes effect when the turn commits; afterwards it is dead. */
import { invariant } from "../base/errors.ts";
import type { Rng } from "../base/random.ts";
import type { Millis } from "../base/units.ts";
import type { ActorEvent, TurnContext } from "./actor.ts";
import { appended, none } from "./messages/lists.ts";
import type { BlobRef, Held, PledgeRef, Ref } from "./messages/refs.ts";
import type { Recipe } from "./pledges.ts";
import type { References } from "./references.ts";

export class Turn implements TurnContext {
  readonly now: Millis;
  readonly self: Ref;
  readonly services: unknown;
  readonly rng: Rng;
  /** To tell onlookers of. */
  events: ActorEvent[] = none;
  readonly #references: References;
  #made: Held[] = none;
  #discarded: Held[] = none;
  #hasEnded = false;

  constructor(now: Millis, self: Ref, services: unknown, rng: Rng, references: References) {
    this.now = now;
    this.self = self;
    this.services = services;
    this.rng = rng;
    this.#references = references;
  }

  put(content: Uint8Array | Float32Array): BlobRef {
    this.#assertGoingOn();
    const blob = this.#references.blobs.put(content);
    this.#made = appended(this.#made, blob);
    return blob;
  }

  pledge<Result>(recipe: Recipe): PledgeRef<Result> {
    this.#assertGoingOn();
    const pledge = this.#references.pledges.pledge(recipe) as PledgeRef<Result>;
    this.#made = appended(this.#made, pledge);
    return pledge;
  }

  start(pledge: PledgeRef): void {
    this.#assertGoingOn();
    this.#references.pledges.start(pledge);
  }

  async open<Result>(pledges: readonly PledgeRef<Result>[]): Promise<Result[]> {
    this.#assertGoingOn();
    return (await this.#references.pledges.open(pledges)) as Result[];
  }

  openEach<Result>(pledges: readonly PledgeRef<Result>[]): AsyncIterable<Result> {
    this.#assertGoingOn();
    return this.#references.pledges.openEach(pledges) as AsyncIterable<Result>;
  }

  keep<Content extends Held>(content: Content): Content {
    this.#assertGoingOn();
    this.#references.retain(content);
    return content;
  }

  discard(content: Held): void {
    this.#assertGoingOn();
    this.#discarded = appended(this.#discarded, content);
  }

  bytes(ref: BlobRef): Uint8Array {
    return this.#references.blobs.bytes(ref);
  }

  floats(ref: BlobRef): Float32Array {
    return this.#references.blobs.floats(ref);
  }

  emit(event: ActorEvent): void {
    this.#assertGoingOn();
    this.events = appended(this.events, event);
  }

  /**
   * Called once the turn's effects hold what they need: releases what was discarded and what came with the message, and
   * drops what the turn made and nobody holds.
   */
  end(received: readonly Held[]): void {
    this.#hasEnded = true;
    for (const content of this.#discarded) this.#references.release(content);
    for (const content of received) this.#references.release(content);
    for (const content of this.#made) this.#references.drop(content);
  }

  #assertGoingOn(): void {
    invariant(!this.#hasEnded, () => `${this.self.kind} used the context of a turn that has ended`);
  }
}
