/**
 * How often a client has taken part in the present round before.
 *
 * A client's luck is keyed by round and client, so that it does not depend on who else was chosen. Policies that invite
 * a client twice while building one model version would meet the same luck again; the repeat tells the parts apart.
 */
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";

export interface RepeatsState {
  readonly round: number;
  /** Client, its latest participation in the round, and how many it had before; ascending by client. */
  readonly parts: readonly (readonly [client: number, participation: number, before: number])[];
}

export class Repeats {
  #round = -1;
  #latest = new NumberMap<{ participation: number; before: number }>();

  of(client: ClientId, round: Round, participation: ParticipationId): number {
    if (round !== this.#round) {
      // Parts of earlier rounds that are still under way have drawn their luck already, or are first parts.
      if (round < this.#round) return 0;
      this.#round = round;
      this.#latest.clear();
    }
    const latest = this.#latest.get(client);
    if (latest === undefined) {
      this.#latest.set(client, { participation, before: 0 });
      return 0;
    }
    if (participation < latest.participation) return Math.max(0, latest.before - 1);
    if (latest.participation < participation) {
      latest.participation = participation;
      latest.before++;
    }
    return latest.before;
  }

  snapshot(): RepeatsState {
    return {
      round: this.#round,
      parts: this.#latest.entries().map(([client, { participation, before }]) => [client, participation, before]),
    };
  }

  restore({ round, parts }: RepeatsState): void {
    this.#round = round;
    this.#latest = new NumberMap(parts.map(([client, participation, before]) => [client, { participation, before }]));
  }
}
