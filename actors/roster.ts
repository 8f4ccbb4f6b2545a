/**
 * What the server remembers of every client, as columns over the fleet: a client that was never invited costs no more
 * than its rows. The server's turns change it as they decide; a turn runs once and in order, so it needs no copies.
 */
import * as z from "zod";
import { InputError } from "../src/base/errors.ts";
import { doubles, uints } from "../src/base/fields.ts";
import type { ClientId, ParticipationId, Round } from "../src/base/ids.ts";
import type { Snapshot } from "../src/base/snapshot.ts";
import type { History } from "../src/fl/sampler.ts";

export const rosterSchema = z.strictObject({
  /** Rows that were ever invited, ascending; the other columns go with them. */
  clients: uints,
  lastCounted: uints,
  timesInvited: uints,
  timesCounted: uints,
  duration: doubles,
  loss: doubles,
  lastInvited: uints,
  current: doubles,
});
type RosterState = Readonly<z.output<typeof rosterSchema>>;

const idle = -1;

export class Roster implements Snapshot<RosterState> {
  readonly history: History;
  /** Round of the last invitation; 0 = never. */
  readonly #lastInvited: Uint32Array;
  /** The participation a client is busy with until it has reported or its part is lost; -1 = idle. */
  readonly #current: Float64Array;
  #everInvited = 0;
  #busy = 0;
  #distinctCounted = 0;

  constructor(clients: number) {
    this.history = {
      lastCounted: new Uint32Array(clients),
      timesInvited: new Uint32Array(clients),
      timesCounted: new Uint32Array(clients),
      duration: new Float64Array(clients).fill(Number.NaN),
      loss: new Float64Array(clients).fill(Number.NaN),
    };
    this.#lastInvited = new Uint32Array(clients);
    this.#current = new Float64Array(clients).fill(idle);
  }

  /** Clients whose update was ever counted. */
  get distinctCounted(): number {
    return this.#distinctCounted;
  }

  /** Clients that have not answered and are not lost. */
  get busy(): number {
    return this.#busy;
  }

  isIdle(client: ClientId): boolean {
    return this.#current[client] === idle;
  }

  /** Rounds since the client was last invited; Infinity for one that never was. */
  roundsSinceInvited(client: ClientId, round: Round): number {
    const last = this.#lastInvited[client]!;
    return last === 0 ? Number.POSITIVE_INFINITY : round - last;
  }

  invited(client: ClientId, round: Round, participation: ParticipationId): void {
    if (this.history.timesInvited[client]!++ === 0) this.#everInvited++;
    this.#lastInvited[client] = round;
    if (this.#current[client] === idle) this.#busy++;
    this.#current[client] = participation;
  }

  /** The client reported, or what it was doing is lost. */
  released(client: ClientId, participation: ParticipationId): void {
    if (this.#current[client] !== participation) return;
    this.#current[client] = idle;
    this.#busy--;
  }

  answered(client: ClientId, milliseconds: number): void {
    this.history.duration[client] = milliseconds;
  }

  /** @param loss mean training loss in nats; NaN without training */
  counted(client: ClientId, round: Round, loss: number): void {
    const { timesCounted, lastCounted, loss: losses } = this.history;
    if (timesCounted[client]!++ === 0) this.#distinctCounted++;
    lastCounted[client] = round;
    losses[client] = loss;
  }

  snapshot(): RosterState {
    const { lastCounted, timesInvited, timesCounted, duration, loss } = this.history;
    const clients = new Uint32Array(this.#everInvited);
    for (let client = 0, at = 0; client < timesInvited.length; client++) {
      if (timesInvited[client]! > 0) clients[at++] = client;
    }
    const uints = (column: Uint32Array) => Uint32Array.from(clients, (client) => column[client]!);
    const floats = (column: Float64Array) => Float64Array.from(clients, (client) => column[client]!);
    return {
      clients,
      lastCounted: uints(lastCounted),
      timesInvited: uints(timesInvited),
      timesCounted: uints(timesCounted),
      duration: floats(duration),
      loss: floats(loss),
      lastInvited: uints(this.#lastInvited),
      current: floats(this.#current),
    };
  }

  /** @throws InputError for columns that are not of this fleet */
  restore(state: RosterState): void {
    const { clients } = state;
    for (const [name, column] of Object.entries(state)) {
      if (column.length === clients.length) continue;
      throw new InputError(`roster.${name} has ${column.length} rows, expected ${clients.length}`);
    }
    const size = this.#current.length;
    const stray = clients.findIndex((client, at) => client >= size || (at > 0 && client <= clients[at - 1]!));
    if (stray >= 0)
      throw new InputError(`roster.clients[${stray}] is ${clients[stray]}, expected rows of ${size}, ascending`);
    const odd = state.current.findIndex((part) => !Number.isSafeInteger(part) || part < idle);
    if (odd >= 0)
      throw new InputError(`roster.current[${odd}] is ${state.current[odd]}, expected a participation or ${idle}`);
    const { lastCounted, timesInvited, timesCounted, duration, loss } = this.history;
    for (const column of [lastCounted, timesInvited, timesCounted, this.#lastInvited]) column.fill(0);
    this.#current.fill(idle);
    duration.fill(Number.NaN);
    loss.fill(Number.NaN);
    this.#distinctCounted = 0;
    this.#busy = 0;
    this.#everInvited = state.clients.length;
    for (const [at, client] of state.clients.entries()) {
      lastCounted[client] = state.lastCounted[at]!;
      timesInvited[client] = state.timesInvited[at]!;
      timesCounted[client] = state.timesCounted[at]!;
      duration[client] = state.duration[at]!;
      loss[client] = state.loss[at]!;
      this.#lastInvited[client] = state.lastInvited[at]!;
      this.#current[client] = state.current[at]!;
      if (timesCounted[client]! > 0) this.#distinctCounted++;
      if (this.#current[client] !== idle) this.#busy++;
    }
  }
}
