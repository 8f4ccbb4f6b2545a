/** A turn of an actor as a function call: a context that writes down what the actor asked for. */
import { Rng } from "../../src/base/random.ts";
import type { Millis } from "../../src/base/units.ts";
import type { ActorEvent, Effect, TurnContext } from "../../src/runtime/actor.ts";
import { BlobStore } from "../../src/runtime/messages/blobs.ts";
import type { Protocol, Ref } from "../../src/runtime/messages/refs.ts";
import { type Held, keyOf, type PledgeRef } from "../../src/runtime/messages/refs.ts";
import type { Recipe } from "../../src/runtime/pledges.ts";

export interface RecordedTurn<Services> extends TurnContext<Services> {
  readonly events: ActorEvent[];
  readonly recipes: Recipe[];
  readonly started: PledgeRef[];
}

/** What lies between turns: content, who holds it, and the results that opened pledges give. */
export class TurnLab {
  readonly blobs = new BlobStore();
  /** Calls of `keep` less calls of `discard`. */
  readonly holders = new Map<string | number, number>();
  readonly results = new Map<number, unknown>();
  #nextPledge = 0;

  turn<Services>(now: number, self: Ref, services: Services): RecordedTurn<Services> {
    const { blobs, holders, results } = this;
    const change = (content: Held, by: number) =>
      void holders.set(keyOf(content), (holders.get(keyOf(content)) ?? 0) + by);
    const recipes: Recipe[] = [];
    const started: PledgeRef[] = [];
    const events: ActorEvent[] = [];
    return {
      now: now as Millis,
      self,
      rng: new Rng(1),
      services,
      events,
      recipes,
      started,
      put: (content) => {
        const ref = blobs.put(content);
        blobs.retain(ref);
        return ref;
      },
      pledge: <Result>(recipe: Recipe): PledgeRef<Result> => {
        recipes.push(recipe);
        return { ref: "pledge", id: this.#nextPledge++, bytes: recipe.bytes };
      },
      start: (pledge) => void started.push(pledge),
      open: async <Result>(pledges: readonly PledgeRef<Result>[]) => pledges.map(({ id }) => results.get(id) as Result),
      async *openEach<Result>(pledges: readonly PledgeRef<Result>[]) {
        for (const { id } of pledges) yield results.get(id) as Result;
      },
      keep: (content) => {
        change(content, 1);
        return content;
      },
      discard: (content) => change(content, -1),
      emit: (event) => void events.push(event),
      bytes: (ref) => blobs.bytes(ref),
      floats: (ref) => blobs.floats(ref),
    };
  }

  /** Content somebody keeps. */
  held(): number {
    return [...this.holders.values()].filter((count) => count > 0).length;
  }
}

/** The messages among a turn's effects, with whom they go to. */
export const sentBy = (effects: readonly Effect<Protocol>[]): { to: string; message: Protocol }[] =>
  effects.flatMap((effect) =>
    effect.type === "send" ? [{ to: `${effect.to.kind}/${effect.to.id}`, message: effect.message }] : [],
  );
