/**
 * All actors. The server's always have an entry; a device has one while a message is on its way to or from it or a turn
 * goes on. Between turns a device is bytes, and only if its state is no longer its first: a fleet of a million idle
 * clients takes no room here.
 */

import * as z from "zod";
import { buggify } from "../base/buggify.ts";
import { InputError, InvariantError, invariant } from "../base/errors.ts";
import { bytes, wholeAs } from "../base/fields.ts";
import { type ClientId, clientName } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import { parseInput } from "../base/problem.ts";
import type { Registration } from "./actor.ts";
import type { ActorKind, Entry } from "./entry.ts";
import { decode, decodeUntrusted, encode } from "./messages/codec.ts";
import { none } from "./messages/lists.ts";
import type { Ref } from "./messages/refs.ts";

/** Kind, number, state as msgpack. */
const stateSchema = z.tuple([z.string(), wholeAs<number>(2 ** 32 - 1), bytes]);
type StateRecord = z.output<typeof stateSchema>;

/** Sorted, so that equal registries give equal snapshots whatever order they were filled in. */
export const registrySchema = z.strictObject({
  /** Devices whose state is not their first. */
  devices: z.array(stateSchema),
  /** The server's actors that have had a turn. */
  residents: z.array(stateSchema),
});
type RegistryState = Readonly<z.output<typeof registrySchema>>;

export class Registry {
  readonly #kinds = new Map<string, ActorKind>();

  constructor(registrations: readonly Registration[]) {
    for (const registration of registrations) {
      const { kind, runsOn } = registration.definition;
      invariant(!this.#kinds.has(kind), () => `two definitions of the actor "${kind}"`);
      invariant(
        /^[\w-]{1,31}$/.test(kind),
        () => `an actor of kind ${JSON.stringify(kind)}, expected up to 31 letters, digits, - and _`,
      );
      const isDevice = runsOn === "device";
      this.#kinds.set(kind, { ...registration, isDevice, entries: new NumberMap(), states: new NumberMap() });
    }
  }

  /** Devices whose state is not their first. */
  get storedStates(): number {
    return [...this.#kinds.values()].reduce((sum, { states }) => sum + states.size, 0);
  }

  kinds(): Iterable<ActorKind> {
    return this.#kinds.values();
  }

  entry(ref: Ref): Entry {
    const kind = this.#kind(ref);
    return kind.entries.get(ref.id) ?? this.#enter(kind, ref);
  }

  *entries(): Generator<Entry> {
    for (const { entries } of this.#kinds.values()) yield* entries.values();
  }

  /** The actor's state: what its last turn left, or its first. */
  stateOf(entry: Entry): unknown {
    entry.state ??= this.#hydrate(entry.kind, entry.ref.id);
    return entry.state;
  }

  /** Puts the state that a turn left behind in the place of the old one. */
  persist(entry: Entry, state: unknown): void {
    if (state === entry.state) return;
    const isPutAway = buggify("run: an actor's state is put away and read back after its turn");
    entry.state = isPutAway ? decode(encode(state)) : state;
    if (entry.kind.isDevice) entry.kind.states.set(entry.ref.id, encode(state));
  }

  /** The state of any actor, without an entry for it. */
  read(ref: Ref): unknown {
    const kind = this.#kind(ref);
    return kind.entries.get(ref.id)?.state ?? this.#hydrate(kind, ref.id);
  }

  /** Removes the entry of a device that has nothing to do any more. */
  leave({ kind, ref, mailbox, current, route, expected }: Entry): void {
    if (kind.isDevice && current === null && mailbox.length === 0 && route === null && expected === 0) {
      kind.entries.take(ref.id);
    }
  }

  /** `server`, `evaluator/2`, `client/c-017`; an address from outside has its kind as its name. */
  nameOf({ kind, id }: Ref): string {
    const known = this.#kinds.get(kind);
    if (known?.isDevice) return `${kind}/${clientName(id as ClientId)}`;
    return known === undefined || id === 0 ? kind : `${kind}/${id}`;
  }

  snapshot(): RegistryState {
    return {
      devices: [...this.#kinds].flatMap(([kind, { states }]) =>
        states.entries().map(([id, bytes]): StateRecord => [kind, id, bytes]),
      ),
      residents: [...this.entries()]
        .filter(({ kind, state }) => !kind.isDevice && state !== undefined)
        .map(({ ref, state }): StateRecord => [ref.kind, ref.id, encode(state)]),
    };
  }

  /**
   * @param inspect is shown every state
   * @throws InputError for a state that no actor of the kind has
   */
  restore({ devices, residents }: RegistryState, inspect: (state: unknown, place: string) => void): void {
    for (const { entries, states } of this.#kinds.values()) {
      entries.clear();
      states.clear();
    }
    const read = ([kind, id, bytes]: StateRecord, isDevice: boolean): unknown => {
      const place = `the state of ${kind} ${id}`;
      const known = this.kindOf({ kind, id });
      if (known?.isDevice !== isDevice)
        throw new InputError(`${place}: expected none, since nobody is of that kind there`);
      const state = decodeUntrusted(bytes, place);
      if (known.definition.schemas !== undefined) parseInput(place, known.definition.schemas.state, state);
      inspect(state, place);
      return state;
    };
    for (const record of devices) {
      read(record, true);
      const [kind, id, bytes] = record;
      this.#kind({ kind, id }).states.set(id, bytes);
    }
    for (const record of residents) {
      const [kind, id] = record;
      this.entry({ kind, id }).state = read(record, false);
    }
  }

  /** Undefined for a kind that nobody is of. */
  kindOf({ kind }: Ref): ActorKind | undefined {
    return this.#kinds.get(kind);
  }

  #kind({ kind }: Ref): ActorKind {
    const known = this.#kinds.get(kind);
    if (known === undefined) {
      throw new InvariantError(`no actor of kind "${kind}", expected ${[...this.#kinds.keys()].join(", ")}`);
    }
    return known;
  }

  #hydrate(kind: ActorKind, id: number): unknown {
    const bytes = kind.states.get(id);
    return bytes === undefined ? kind.hydrate(id) : decode(bytes);
  }

  #enter(kind: ActorKind, ref: Ref): Entry {
    const { id } = ref;
    invariant(Number.isInteger(id) && id >= 0 && id < 2 ** 32, () => `${ref.kind}/${id}: expected an id in [0, 2^32)`);
    const entry: Entry = {
      kind,
      ref,
      state: undefined,
      mailbox: none,
      current: null,
      computation: 0,
      route: null,
      expected: 0,
    };
    kind.entries.set(id, entry);
    return entry;
  }
}
