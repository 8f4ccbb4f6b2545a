/**
 * What scripted effects do to the world at present.
 *
 * Few effects are active at once, mostly none, so every question is answered by walking through the list.
 */
import { z } from "zod";
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

export class Conditions {
  readonly #fleet: Fleet;
  #active: Active[] = [];
  #nextId = 0;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  get isCalm(): boolean {
    return this.#active.length === 0;
  }

  /** @returns the number by which the effect ends */
  begin(effect: LastingEffect, endsAt: number): number {
    const id = this.#nextId++;
    this.#add({ id, effect, endsAt });
    return id;
  }

  end(id: number): LastingEffect | undefined {
    const index = this.#active.findIndex((active) => active.id === id);
    return index < 0 ? undefined : this.#active.splice(index, 1)[0]!.effect;
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
    return this.#active.some(({ effect }) => effect.type === "server-restart");
  }

  /** The effect that stops the client's message or computation for the rest of the run; undefined if none does. */
  stopsForEver(client: ClientId, isMessage: boolean): string | undefined {
    return this.#active.find(
      ({ effect, endsAt, covers }) =>
        endsAt === Infinity &&
        (effect.type === "outage" || (isMessage && keepsAway.has(effect.type))) &&
        covers(client),
    )?.effect.type;
  }

  /** When the first effect ends that keeps clients away. */
  firstReturn(): number {
    let first = Infinity;
    for (const { effect, endsAt } of this.#active) if (keepsAway.has(effect.type)) first = Math.min(first, endsAt);
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
    for (const { effect, covers } of this.#active) {
      if (effect.type === "dropout" && covers(client)) probability = effect.probability;
    }
    return probability;
  }

  messageLoss(): number | undefined {
    let probability: number | undefined;
    for (const { effect } of this.#active) if (effect.type === "message-loss") probability = effect.probability;
    return probability;
  }

  snapshot(): ConditionsState {
    return { nextId: this.#nextId, active: this.#active.map(({ id, effect, endsAt }) => ({ id, effect, endsAt })) };
  }

  /** Numbers of the effects that something ends. */
  bounded(): Set<number> {
    return new Set(this.#active.filter(({ endsAt }) => endsAt < Infinity).map(({ id }) => id));
  }

  restore({ nextId, active }: ConditionsState): void {
    for (const [at, { id, effect }] of active.entries()) {
      const place = `conditions.active[${at}]`;
      const before = active[at - 1]?.id ?? -1;
      if (id <= before || id >= nextId)
        throw new InputError(`${place}.id is ${id}, expected one in (${before}, ${nextId})`);
      throwMistakes(
        place,
        checkTarget("effect", effect, this.#fleet).map((problem) => inWords("effect", problem)),
      );
    }
    this.#nextId = nextId;
    this.#active = [];
    for (const state of active) this.#add(state);
  }

  #add(state: ActiveState): void {
    this.#active.push({ ...state, covers: this.covers(state.effect) });
  }

  #holds(type: LastingEffect["type"], client: ClientId): boolean {
    for (const { effect, covers } of this.#active) if (effect.type === type && covers(client)) return true;
    return false;
  }

  #product(type: "slowdown" | "bandwidth", client: ClientId): number {
    let product = 1;
    for (const { effect, covers } of this.#active) {
      if (effect.type === type && covers(client)) product *= effect.factor;
    }
    return product;
  }
}

const keepsAway: ReadonlySet<LastingEffect["type"]> = new Set(["outage", "partition", "server-restart"]);

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
