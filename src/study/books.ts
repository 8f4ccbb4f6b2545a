/** What clients of a run were asked for, by formula: work, memory, and which of the traffic came to anything. */
import { z } from "zod";
import type { ParticipationId } from "../base/ids.ts";
import { trainingFlops, trainingMemory } from "../model/accounting.ts";
import type { Invited } from "../run/federation.ts";
import type { Prepared } from "../run/prepare.ts";
import type { Bookkeeper } from "../run/run.ts";
import type { Scenario } from "../scenario/define.ts";

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
  readonly #lora: Scenario["data"]["lora"];
  readonly #open = new Map<ParticipationId, Invited>();
  #trained = 0;
  #flops = 0;
  #memory = 0;
  #usefulBytes = 0;

  constructor(prepared: Prepared, { data }: Scenario) {
    this.#prepared = prepared;
    this.#lora = data.lora;
  }

  invited(invited: Invited): void {
    this.#open.set(invited.participation, invited);
  }

  ended({ participation, trainedAt, outcome }: Parameters<Bookkeeper["ended"]>[0]): void {
    const { client, budget, takes, bytes } = this.#open.get(participation)!;
    this.#open.delete(participation);
    if (outcome === "counted") this.#usefulBytes += bytes;
    if (trainedAt === null) return;
    const { config, fleet, training } = this.#prepared;
    this.#trained++;
    // What a device does in that time at the budget its speed is given for.
    const tokens = (takes / 1_000) * fleet.tokensPerSecond[client]!;
    this.#flops += tokens * trainingFlops(config, fleet.budget[client]!, this.#lora.rank);
    if (training === null) return;
    const { batchSize, length } = training.setup;
    this.#memory += trainingMemory(config, this.#lora, {
      k: budget,
      tokens: batchSize * length,
      bytesPerWeight: 4,
    }).total;
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
