/**
 * What scripted effects do to the world at present.
 *
 * Few effects are active at once, mostly none, so most questions are answered by walking through those of a type. Factors
 * may be many, and every flight asks for their product: it is kept for the clients that have been asked for.
 */
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { unbounded, whole } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import { inWords, throwMistakes } from "../../base/problem.ts";
import type { Fleet } from "../fleet/fleet.ts";
import { checkTarget, lastingEffectSchema, type PlainEffect, type Target } from "./effects.ts";

export type LastingEffect = Readonly<z.output<typeof lastingEffectSchema>>;

const activeSchema = z.strictObject({
  id: whole,
  effect: lastingEffectSchema,
  /** Infinity if nothing ends it. */
  endsAt: unbounded,
});
type ActiveState = Readonly<z.output<typeof activeSchema>>;

interface Active extends ActiveState {
  readonly covers: (client: ClientId) => boolean;
}

export const conditionsSchema = z.strictObject({ nextId: whole, active: z.array(activeSchema) });
type ConditionsState = Readonly<z.output<typeof conditionsSchema>>;

type Type = LastingEffect["type"];
type Factor = "slowdown" | "bandwidth";

export class Conditions {
  readonly #fleet: Fleet;
  /** By type and number, in the order in which they began. */
  readonly #active: Readonly<Record<Type, Map<number, Active>>> = {
    outage: new Map(),
    partition: new Map(),
    slowdown: new Map(),
    bandwidth: new Map(),
    "server-restart": new Map(),
    dropout: new Map(),
    "message-loss": new Map(),
  };
  /** Products of the factors that cover a client, of those who were asked for. */
  readonly #products: Readonly<Record<Factor, Map<ClientId, number>>> = { slowdown: new Map(), bandwidth: new Map() };
  #count = 0;
  #nextId = 0;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  get isCalm(): boolean {
    return this.#count === 0;
  }

  /** @returns the number by which the effect ends */
  begin(effect: LastingEffect, endsAt: number): number {
    const id = this.#nextId++;
    this.#add({ id, effect, endsAt });
    return id;
  }

  end(id: number): LastingEffect | undefined {
    for (const active of Object.values(this.#active)) {
      const ended = active.get(id);
      if (ended === undefined) continue;
      active.delete(id);
      this.#count--;
      // To the last digit a product is not what division leaves of it.
      if (isFactor(ended.effect)) this.#products[ended.effect.type].clear();
      return ended.effect;
    }
    return undefined;
  }

  /** Clients the effect is about. Effects on the server are about all. */
  covers(effect: PlainEffect): (client: ClientId) => boolean {
    return "target" in effect ? membership(this.#fleet, effect.target) : () => true;
  }

  isOut(client: ClientId): boolean {
    return this.#holds("outage", client);
  }

  /** Can no message pass between the client and the server? */
  isCutOff(client: ClientId): boolean {
    return this.#holds("partition", client) || this.isServerDown;
  }

  get isServerDown(): boolean {
    return this.#active["server-restart"].size > 0;
  }

  /** The effect that stops the client's message or computation for the rest of the run; undefined if none does. */
  stopsForEver(client: ClientId, isMessage: boolean): string | undefined {
    let first: Active | undefined;
    for (const type of isMessage ? keepsAway : (["outage"] as const)) {
      for (const active of this.#active[type].values()) {
        if (active.endsAt < Infinity || !active.covers(client)) continue;
        if (first === undefined || active.id < first.id) first = active;
        break;
      }
    }
    return first?.effect.type;
  }

  /** When the first effect ends that keeps clients away. */
  firstReturn(): number {
    let first = Infinity;
    for (const type of keepsAway) for (const { endsAt } of this.#active[type].values()) first = Math.min(first, endsAt);
    return first;
  }

  slowdown(client: ClientId): number {
    return this.#product("slowdown", client);
  }

  bandwidth(client: ClientId): number {
    return this.#product("bandwidth", client);
  }

  /** Of several, the one that began last counts. */
  dropout(client: ClientId): number | null {
    let probability: number | null = null;
    for (const { effect, covers } of this.#active.dropout.values()) {
      if (effect.type === "dropout" && covers(client)) probability = effect.probability;
    }
    return probability;
  }

  messageLoss(): number | undefined {
    let probability: number | undefined;
    for (const { effect } of this.#active["message-loss"].values()) {
      if (effect.type === "message-loss") probability = effect.probability;
    }
    return probability;
  }

  snapshot(): ConditionsState {
    const active = this.#all().map(({ id, effect, endsAt }) => ({ id, effect, endsAt }));
    return { nextId: this.#nextId, active: active.sort((a, b) => a.id - b.id) };
  }

  /** Numbers of the effects that something ends. */
  bounded(): Set<number> {
    return new Set(this.#all().flatMap(({ id, endsAt }) => (endsAt < Infinity ? [id] : [])));
  }

  /** @throws InputError for effects that did not begin in this fleet one after the other */
  restore({ nextId, active }: ConditionsState): void {
    for (const [at, { id, effect }] of active.entries()) {
      const place = `conditions.active[${at}]`;
      const before = active[at - 1]?.id ?? -1;
      if (id <= before || id >= nextId) {
        throw new InputError(`${place}.id is ${id}, expected one in (${before}, ${nextId})`);
      }
      throwMistakes(
        place,
        checkTarget("effect", effect, this.#fleet).map((problem) => inWords("effect", problem)),
      );
    }
    this.#nextId = nextId;
    this.#count = 0;
    for (const map of [...Object.values(this.#active), ...Object.values(this.#products)]) map.clear();
    for (const state of active) this.#add(state);
  }

  #all(): Active[] {
    return Object.values(this.#active).flatMap((active) => [...active.values()]);
  }

  #add(state: ActiveState): void {
    const { id, effect } = state;
    const covers = this.covers(effect);
    this.#active[effect.type].set(id, { ...state, covers });
    this.#count++;
    if (!isFactor(effect)) return;
    const products = this.#products[effect.type];
    for (const [client, product] of products) if (covers(client)) products.set(client, product * effect.factor);
  }

  #holds(type: Type, client: ClientId): boolean {
    for (const { covers } of this.#active[type].values()) if (covers(client)) return true;
    return false;
  }

  #product(type: Factor, client: ClientId): number {
    const known = this.#products[type].get(client);
    if (known !== undefined) return known;
    let product = 1;
    for (const { effect, covers } of this.#active[type].values()) {
      if (isFactor(effect) && covers(client)) product *= effect.factor;
    }
    this.#products[type].set(client, product);
    return product;
  }
}

const isFactor = (effect: LastingEffect): effect is Extract<LastingEffect, { readonly type: Factor }> =>
  effect.type === "slowdown" || effect.type === "bandwidth";

const keepsAway = ["outage", "partition", "server-restart"] as const;

function membership(fleet: Fleet, target: Target): (client: ClientId) => boolean {
  if (typeof target !== "string") {
    const members = new Set(target.clients);
    return (client) => members.has(client);
  }
  if (target === "all") return () => true;
  const tier = fleet.tierNames.indexOf(target);
  const region = fleet.regionNames.indexOf(target);
  return (client) => fleet.tier[client] === tier || fleet.region[client] === region;
}
