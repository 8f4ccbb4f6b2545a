/**
 * How often a client has taken part in the present round before.
 *
 * A client's luck is keyed by round and client, so that it does not depend on who else was chosen. Policies that invite
 * a client twice while building one model version would meet the same luck again; the repeat tells the parts apart.
 */
import * as z from "zod";
import { whole } from "../../base/fields.ts";
import type { ClientId, ParticipationId, Round } from "../../base/ids.ts";
import { NumberMap } from "../../base/number-map.ts";

export const repeatsSchema = z.strictObject({
  round: z.int().min(-1),
  /** Client, its latest participation in the round, and how many it had before; ascending by client. */
  parts: z.array(z.tuple([whole, whole, whole])),
});
type RepeatsState = Readonly<z.output<typeof repeatsSchema>>;

export class Repeats {
  #round = -1;
  readonly #latest = new NumberMap<number>();
  /** Only of those who have taken part before; mostly nobody has. */
  readonly #before = new NumberMap<number>();

  of(client: ClientId, round: Round, participation: ParticipationId): number {
    if (round !== this.#round) {
      // Parts of earlier rounds that are still under way have drawn their luck already, or are first parts.
      if (round < this.#round) return 0;
      this.#round = round;
      this.#latest.clear();
      this.#before.clear();
    }
    const latest = this.#latest.get(client);
    if (latest === undefined || latest < participation) this.#latest.set(client, participation);
    if (latest === undefined) return 0;
    const before = this.#before.size === 0 ? 0 : (this.#before.get(client) ?? 0);
    if (participation === latest) return before;
    if (participation < latest) return Math.max(0, before - 1);
    this.#before.set(client, before + 1);
    return before + 1;
  }

  snapshot(): RepeatsState {
    const parts = this.#latest.entries();
    return {
      round: this.#round,
      parts: parts.map(([client, latest]) => [client, latest, this.#before.get(client) ?? 0]),
    };
  }

  restore({ round, parts }: RepeatsState): void {
    this.#round = round;
    this.#latest.clear();
    this.#before.clear();
    for (const [client, latest, before] of parts) {
      this.#latest.set(client, latest);
      if (before > 0) this.#before.set(client, before);
    }
  }
}
