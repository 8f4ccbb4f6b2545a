/** What clients of a run were asked for, by formula: work, memory, and which of the traffic came to anything. */
import * as z from "zod";
import type { ParticipationId } from "../base/ids.ts";
import type { Invited } from "../run/federation.ts";
import type { Bookkeeper } from "../run/options.ts";
import type { Prepared } from "../run/prepare.ts";

export const costsSchema = z.object({
  /** Of a client's part in a round, in the mean over all that got to the end of their training. Null when nobody did. */
  flops: z.number().nullable(),
  /** Bytes while training, in the mean over the same; null without training. What a method keeps there is not in it. */
  memory: z.number().nullable(),
  /** Bytes of invitations and updates, without their envelopes, that belong to updates that were counted. */
  usefulBytes: z.number(),
});
export type Costs = Readonly<z.output<typeof costsSchema>>;

export class Books implements Bookkeeper {
  readonly #prepared: Prepared;
  readonly #open = new Map<ParticipationId, Invited>();
  #trained = 0;
  #flops = 0;
  #memory = 0;
  #usefulBytes = 0;

  constructor(prepared: Prepared) {
    this.#prepared = prepared;
  }

  invited(invited: Invited): void {
    this.#open.set(invited.participation, invited);
  }

  ended({ participation, trainedAt, outcome }: Parameters<Bookkeeper["ended"]>[0]): void {
    const { client, budget, takes, bytes } = this.#open.get(participation)!;
    this.#open.delete(participation);
    if (outcome === "counted") this.#usefulBytes += bytes;
    if (trainedAt === null) return;
    const { task, fleet, training } = this.#prepared;
    const { budget: budgets, cost, memory } = task.task;
    this.#trained++;
    // What a device does in that time at the budget its speed is given for.
    const units = (takes / 1_000) * fleet.tokensPerSecond[client]!;
    this.#flops += units * cost(budgets.variant(fleet.budget[client]!)).training;
    if (training === null) return;
    const { batchSize, length } = training.setup;
    this.#memory += memory(budgets.variant(budget), batchSize * length);
  }

  get costs(): Costs {
    const mean = (sum: number): number | null => (this.#trained === 0 ? null : sum / this.#trained);
    return {
      flops: mean(this.#flops),
      memory: this.#prepared.training === null ? null : mean(this.#memory),
      usefulBytes: this.#usefulBytes,
    };
  }
}
