/**
 * How evenly what was learned serves the clients of a run. A client's loss is that of what it runs, on the examples that
 * it keeps from training, or else of what its budget runs on the common held-out ones; the further measures are those of q-FFL (Li et al., "Fair Resource Allocation in Federated
 * Learning", 2020) and of Jain, Chiu & Hawe ("A quantitative measure of fairness", DEC-TR-301, 1984).
 */
import { mean, variance } from "simple-statistics";
import * as z from "zod";
import { clientId, clientName } from "../base/ids.ts";
import type { RoundMetrics } from "../records/metrics.ts";
import type { Fleet } from "../sim/fleet/fleet.ts";

export const fairnessSchema = z.object({
  /** Mean held-out loss of its clients, in nats. */
  tiers: z.array(z.object({ tier: z.string(), loss: z.number().nullable() })).readonly(),
  /** Mean loss of the tenth of the clients that is worst off, at least one. */
  worstTenth: z.number().nullable(),
  /** Of the clients' losses. */
  variance: z.number().nullable(),
  /** Jain's index of the clients' shares of tokens predicted right. */
  jain: z.number().nullable(),
});
export type Fairness = Readonly<z.output<typeof fairnessSchema>>;

/** What a client gets out of a run. */
export interface Served {
  readonly tier: string;
  readonly loss: number;
  readonly accuracy: number;
}

/**
 * All clients: by what they get out of it on the examples that they keep from training, or where they keep none by what
 * their budget comes to.
 *
 * @returns null where a client has neither
 */
export function servedIn({ evaluations, clients = [] }: RoundMetrics, { size, budget, tier, tierNames }: Fleet) {
  const known = new Map(evaluations.map((result) => [result.budget, result]));
  const own = new Map(clients.map((result) => [result.client, result]));
  const served: Served[] = [];
  for (let client = 0; client < size; client++) {
    const result = own.get(clientName(clientId(client))) ?? known.get(budget[client]!);
    if (result === undefined) return null;
    served.push({ tier: tierNames[tier[client]!]!, loss: result.loss, accuracy: result.accuracy });
  }
  return served;
}

export function fairnessOf(served: readonly Served[]): Fairness {
  const losses = served.map(({ loss }) => loss).sort((a, b) => b - a);
  const names = [...new Set(served.map(({ tier }) => tier))];
  const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
  return {
    tiers: names.map((tier) => ({
      tier,
      loss: finite(mean(served.filter((one) => one.tier === tier).map(({ loss }) => loss))),
    })),
    worstTenth: finite(mean(losses.slice(0, Math.ceil(losses.length / 10)))),
    variance: finite(variance(losses)),
    jain: jainIndex(served.map(({ accuracy }) => accuracy)),
  };
}

/** (Σx)² ÷ (n·Σx²): 1 when all are equal, 1/n when one has everything; null when nobody has anything. */
export function jainIndex(shares: readonly number[]): number | null {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share ** 2, 0);
  return squares === 0 ? null : sum ** 2 / (shares.length * squares);
}
