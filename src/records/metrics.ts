/** What one closed round leaves in `metrics.jsonl`: one row a round, virtual time only. */
import { type ClientId, clientName } from "../base/ids.ts";
import { type Fleet, tierOf } from "../sim/fleet/fleet.ts";

export interface BudgetMetrics {
  readonly topK: number;
  /** Held-out cross-entropy per response token, in nats. */
  readonly loss: number;
  /** Share of held-out response tokens predicted right, in [0, 1]. */
  readonly tokenAccuracy: number;
  /** Share of held-out examples whose whole response greedy decoding would write, in [0, 1]. */
  readonly exactMatch: number;
}

export interface TierMetrics {
  readonly tier: string;
  readonly invited: number;
  readonly counted: number;
  readonly late: number;
  readonly dropped: number;
  readonly rejected: number;
}

export interface RoundMetrics {
  /** 0 is the base model before the first round. */
  readonly round: number;
  /** When the round began and closed, in milliseconds of virtual time. */
  readonly startedAt: number;
  readonly closedAt: number;
  readonly invited: number;
  readonly counted: number;
  readonly late: number;
  readonly dropped: number;
  readonly rejected: number;
  /** False when too few updates came: the adapter is then untouched. */
  readonly aggregated: boolean;
  readonly tiers: readonly TierMetrics[];
  /** Mean training loss over counted updates, in nats; null without training or without updates. */
  readonly trainLoss: number | null;
  /** Bytes sent since the run began. */
  readonly downloadBytes: number;
  readonly uploadBytes: number;
  /** Distinct clients counted since the run began. */
  readonly distinctClients: number;
  /** Held-out results at every budget, largest first; empty in rounds that are not evaluated. */
  readonly evaluations: readonly BudgetMetrics[];
  /** Share of routed tokens that went to each expert over counted updates, `[layers][experts]`; empty without training. */
  readonly activation: readonly (readonly number[])[];
  /** Mean aggregation weight of each counted client over experts; sums to 1. */
  readonly weights: readonly { readonly client: string; readonly tier: string; readonly weight: number }[];
}

/** A row before it is written: those who were counted are numbers still. */
export interface RoundRow extends Omit<RoundMetrics, "weights"> {
  readonly counts: readonly { readonly client: ClientId; readonly weight: number }[];
}

export function metricsOf({ counts, evaluations, ...row }: RoundRow, fleet: Fleet): RoundMetrics {
  const weights = counts.map(({ client, weight }) => ({
    client: clientName(client),
    tier: tierOf(fleet, client),
    weight,
  }));
  return { ...row, weights, evaluations };
}
