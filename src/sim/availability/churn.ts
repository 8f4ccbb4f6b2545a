/**
 * Clients that join late and leave for good.
 *
 * Both instants follow from the client alone, so membership can be asked at any time and costs no memory.
 */
import * as z from "zod";
import { duration, probability } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import type { Rng } from "../../base/random.ts";

export const churnSchema = z
  .strictObject({
    presentAtStart: probability
      .exactOptional()
      .describe("share of the fleet that is there from the beginning; 1 if left out"),
    meanWait: duration
      .exactOptional()
      .describe("mean of the exponential time until each of the others joins. Left out: they never do"),
    meanStay: duration
      .exactOptional()
      .describe("mean of the exponential time from joining to leaving. Left out: nobody leaves"),
  })
  .refine(({ presentAtStart, meanWait }) => presentAtStart !== 0 || meanWait !== undefined, {
    path: ["presentAtStart"],
    error: "a share above 0, or a meanWait after which clients join",
  });

export type ChurnSpec = Readonly<z.output<typeof churnSchema>>;

export class Churn {
  readonly #spec: ChurnSpec;
  readonly #rng: Rng;

  constructor(spec: ChurnSpec, rng: Rng) {
    this.#spec = spec;
    this.#rng = rng;
  }

  joinsAt(client: ClientId): number {
    const { presentAtStart = 1, meanWait } = this.#spec;
    if (presentAtStart >= 1) return 0;
    const draws = this.#rng.at("joining").at(client);
    if (draws.bernoulli(presentAtStart)) return 0;
    return meanWait === undefined ? Infinity : draws.exponential(meanWait);
  }

  leavesAt(client: ClientId): number {
    const { meanStay } = this.#spec;
    if (meanStay === undefined) return Infinity;
    return this.joinsAt(client) + this.#rng.at("leaving").at(client).exponential(meanStay);
  }

  isMember(client: ClientId, time: number): boolean {
    return this.joinsAt(client) <= time && time < this.leavesAt(client);
  }
}
