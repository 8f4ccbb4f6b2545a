/** One run of a study, boiled down to what its comparison with others needs. Plain data, fit for a JSONL row. */
import { z } from "zod";
import { count } from "../records/counts.ts";
import { budgetMetricsSchema, type RoundMetrics } from "../records/metrics.ts";
import { tierTotals, totalsOf } from "../records/totals.ts";
import { type Costs, costsSchema } from "./books.ts";
import { type Fairness, fairnessSchema, jainIndex } from "./fairness.ts";

/** What "good enough" means when time to target is measured. */
export interface Target {
  /** Budget at which it is measured; null for the mean over all that are evaluated. */
  readonly budget: number | null;
  /** Held-out loss at or below which the target is reached, in nats. */
  readonly loss: number;
}

export const cellSchema = z.object({
  strategy: z.string(),
  /** The dropout rate asked for, in [0, 1]. */
  dropout: z.number(),
  seed: count,
  rounds: count,
  /** Milliseconds. */
  virtualTime: z.number(),
  /** Sent in all, both ways: also to and from clients that came to nothing. */
  bytes: z.number(),
  invited: count,
  counted: count,
  /** Distinct clients ever counted, of so many in the fleet. */
  distinctClients: count,
  clients: count,
  tiers: z.array(z.object({ tier: z.string(), invited: count, counted: count })).readonly(),
  /** The last held-out results, largest budget first; empty for timing-only runs. */
  evaluations: z.array(budgetMetricsSchema).readonly(),
  /** Null for a run that broke before its end. */
  costs: costsSchema.nullable(),
  /** Null without training, or where a client's budget was not evaluated. */
  fairness: fairnessSchema.nullable(),
  /** Virtual milliseconds until the target was first met; null when it never was or none was set. */
  timeToTarget: z.number().nullable(),
  /** Invariants that did not hold, in a sentence each; a sound cell has none. */
  violations: z.array(z.string()).readonly(),
});
export type Cell = Readonly<z.output<typeof cellSchema>>;

interface CellFacts {
  readonly strategy: string;
  readonly dropout: number;
  readonly seed: number;
  readonly clients: number;
  readonly costs?: Costs | null;
  readonly fairness?: Fairness | null;
  readonly target?: Target | null;
  readonly violations?: readonly string[];
}

/** @param rounds the rows of a finished run's `metrics.jsonl`, at least one */
export function cellFrom(rounds: readonly RoundMetrics[], facts: CellFacts): Cell {
  const { strategy, dropout, seed, clients, costs = null, fairness = null, target = null, violations = [] } = facts;
  const totals = totalsOf(rounds);
  return {
    strategy,
    dropout,
    seed,
    rounds: totals.rounds,
    virtualTime: totals.virtualTime,
    bytes: totals.downloadBytes + totals.uploadBytes,
    invited: totals.invited,
    counted: totals.counted,
    distinctClients: totals.distinctClients,
    clients,
    tiers: [...tierTotals(rounds).values()].map(({ tier, invited, counted }) => ({ tier, invited, counted })),
    evaluations: rounds.findLast(({ evaluations }) => evaluations.length > 0)?.evaluations ?? [],
    costs,
    fairness,
    timeToTarget: reachedAt(rounds, target),
    violations,
  };
}

/** When the rows first show the target met; null when they never do or there is none. */
export function reachedAt(
  rows: readonly Pick<RoundMetrics, "closedAt" | "evaluations">[],
  target: Target | null,
): number | null {
  if (target === null) return null;
  const reached = rows.find(({ evaluations }) => {
    const loss = lossAt(evaluations, target.budget);
    return loss !== null && loss <= target.loss;
  });
  return reached?.closedAt ?? null;
}

/** @param budget null for the mean over all budgets. @returns null where that was not evaluated */
export function lossAt(evaluations: RoundMetrics["evaluations"], budget: number | null): number | null {
  const asked = budget === null ? evaluations : evaluations.filter((result) => result.budget === budget);
  return asked.length === 0 ? null : asked.reduce((sum, { loss }) => sum + loss, 0) / asked.length;
}

/** Jain's index of the tiers' counted shares: 1 when an invitation counts equally often in every tier. */
export function tierFairness({ tiers }: Cell): number | null {
  return jainIndex(tiers.filter(({ invited }) => invited > 0).map(({ invited, counted }) => counted / invited));
}
