/**
 * Everyone in the system. The server's actors always have a seat; a device has one while a message is on its way to or
 * from it or a turn goes on, and is otherwise nothing but an entry in the store, or not even that.
 */
import { InvariantError, invariant } from "../base/errors.ts";
import { type ClientId, clientName } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import type { Millis } from "../base/units.ts";
import type { CastMember } from "./actor.ts";
import { noMail, type Seat } from "./mailbox.ts";
import { decode, encode } from "./messages/codec.ts";
import type { Ref } from "./messages/refs.ts";
import { type StateRecord, StateStore } from "./store.ts";

export interface Role extends CastMember {
  readonly isDevice: boolean;
  readonly seats: NumberMap<Seat<Role>>;
  readonly stopped: Set<number>;
  /** Recent crashes of actors under supervision. */
  readonly crashes: Map<number, readonly Millis[]>;
}

export interface CompanyState {
  /** Devices whose state is not their first. */
  readonly devices: readonly StateRecord[];
  /** The server's actors that have had a turn. */
  readonly residents: readonly StateRecord[];
  readonly stopped: readonly (readonly [kind: string, id: number])[];
  readonly crashes: readonly (readonly [kind: string, id: number, at: readonly Millis[]])[];
}

export class Company {
  readonly store = new StateStore();
  readonly #roles = new Map<string, Role>();

  constructor(members: readonly CastMember[]) {
    for (const member of members) {
      const { kind, runsOn } = member.definition;
      invariant(!this.#roles.has(kind), () => `two definitions of the actor "${kind}"`);
      this.#roles.set(kind, {
        ...member,
        isDevice: runsOn === "device",
        seats: new NumberMap(),
        stopped: new Set(),
        crashes: new Map(),
      });
    }
  }

  role(kind: string): Role {
    const role = this.#roles.get(kind);
    if (role === undefined) {
      throw new InvariantError(`no actor of kind "${kind}", expected ${[...this.#roles.keys()].join(", ")}`);
    }
    return role;
  }

  seat(ref: Ref): Seat<Role> {
    const { kind, id } = ref;
    const role = this.role(kind);
    const seat = role.seats.get(id);
    return seat === undefined ? this.#arrange(role, ref) : seat;
  }

  *seats(): Generator<Seat<Role>> {
    for (const role of this.#roles.values()) yield* role.seats.values();
  }

  /** The actor's state, read from the store or made where nobody has asked for it since it took its seat. */
  stateOf(seat: Seat<Role>): unknown {
    seat.state ??= this.store.get(seat.ref.kind, seat.ref.id) ?? seat.role.hydrate(seat.ref.id);
    return seat.state;
  }

  /** Puts the state that a turn left behind in the place of the old one. */
  commit(seat: Seat<Role>, state: unknown): void {
    if (state === seat.state) return;
    seat.state = state;
    if (seat.role.isDevice) this.store.put(seat.ref.kind, seat.ref.id, state);
  }

  /** The state of any actor, without a seat for it. */
  read({ kind, id }: Ref): unknown {
    const role = this.role(kind);
    return role.seats.get(id)?.state ?? this.store.get(kind, id) ?? role.hydrate(id);
  }

  /** A device that has nothing to do any more gives up its seat. */
  leave(seat: Seat<Role>): void {
    const { role, mailbox, current, route, expected } = seat;
    if (!role.isDevice || current !== null || mailbox.length > 0 || route !== null || expected > 0) return;
    if (role.seats.get(seat.ref.id) === seat) role.seats.take(seat.ref.id);
  }

  /** `server`, `evaluator/2`, `client/c-017`; an address from outside the company has its kind as its name. */
  nameOf({ kind, id }: Ref): string {
    const role = this.#roles.get(kind);
    if (role?.isDevice) return `${kind}/${clientName(id as ClientId)}`;
    return role === undefined || id === 0 ? kind : `${kind}/${id}`;
  }

  roles(): Iterable<Role> {
    return this.#roles.values();
  }

  isStopped({ role, ref }: Seat<Role>): boolean {
    return role.stopped.size > 0 && role.stopped.has(ref.id);
  }

  snapshot(): CompanyState {
    const roles = [...this.#roles.values()];
    const residents = roles
      .filter(({ isDevice }) => !isDevice)
      .flatMap(({ seats }) => seats.values())
      .filter(({ state }) => state !== undefined)
      .map(({ ref, state }): StateRecord => [ref.kind, ref.id, encode(state)]);
    return {
      devices: this.store.snapshot(),
      residents,
      stopped: roles.flatMap(({ definition, stopped }) => [...stopped].map((id) => [definition.kind, id] as const)),
      crashes: roles.flatMap(({ definition, crashes }) =>
        [...crashes].map(([id, at]) => [definition.kind, id, at] as const),
      ),
    };
  }

  restore({ devices, residents, stopped, crashes }: CompanyState): void {
    for (const { seats, stopped, crashes } of this.#roles.values()) {
      seats.clear();
      stopped.clear();
      crashes.clear();
    }
    this.store.restore(devices);
    for (const [kind, id, bytes] of residents) this.seat({ kind, id }).state = decode(bytes);
    for (const [kind, id] of stopped) this.role(kind).stopped.add(id);
    for (const [kind, id, at] of crashes) this.role(kind).crashes.set(id, at);
  }

  #arrange(role: Role, ref: Ref): Seat<Role> {
    const { kind, id } = ref;
    invariant(Number.isInteger(id) && id >= 0 && id < 2 ** 32, () => `${kind}/${id}: expected an id in [0, 2^32)`);
    const seat: Seat<Role> = {
      role,
      ref,
      state: undefined,
      mailbox: noMail,
      current: null,
      computation: 0,
      route: null,
      expected: 0,
    };
    role.seats.set(id, seat);
    return seat;
  }
}
