/** One run of a study, boiled down to what its comparison with others needs. Plain data, fit for a JSONL row. */
import * as z from "zod";
import { count } from "../records/counts.ts";
import { budgetMetricsSchema, type RoundMetrics } from "../records/metrics.ts";
import { tierTotals, totalsOf } from "../records/totals.ts";
import { costsSchema } from "./books.ts";
import { fairnessSchema, jainIndex } from "./fairness.ts";

/** What "good enough" means when time to target is measured. */
export interface Target {
  /** Budget at which it is measured; null for the mean over all that are evaluated. */
  readonly budget: number | null;
  /** Held-out loss at or below which the target is reached, in nats. */
  readonly loss: number;
}

const cellSchema = z.object({
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
  /** Held-out examples that they rest on; null without training, and in cells of earlier versions. */
  heldOut: count.nullable().default(null),
  /** Null for a run that broke before its end, or was stopped. */
  costs: costsSchema.nullable(),
  /** Null without training, or where a client's budget was not evaluated. */
  fairness: fairnessSchema.nullable(),
  /** The round after which it was given up, being without hope; null for one that was not. */
  stoppedAfter: count.nullable().default(null),
  /** Invariants that did not hold, in a sentence each; a sound cell has none. */
  violations: z.array(z.string()).readonly(),
});
export type Cell = Readonly<z.output<typeof cellSchema>>;

const curveSchema = z
  .array(z.object({ round: count, closedAt: z.number(), evaluations: z.array(budgetMetricsSchema).readonly() }))
  .readonly();
/** The held-out results on the way there. */
export type Curve = z.output<typeof curveSchema>;

/** A line of `cells.jsonl`: enough to measure the time to any target later. */
export const storedCellSchema = z.object({
  cell: cellSchema,
  /** Of the run's trace; null for a run that broke or was stopped. */
  digest: z.string().nullable(),
  curve: curveSchema,
});
export type StoredCell = Readonly<z.output<typeof storedCellSchema>>;

/** What a run leaves behind besides its rows. */
export type CellFacts = Pick<
  Cell,
  "seed" | "clients" | "heldOut" | "costs" | "fairness" | "stoppedAfter" | "violations"
>;

/** @param rows of the run; none where it broke before its first */
export function cellFrom(rows: readonly RoundMetrics[], facts: CellFacts): Cell {
  if (rows.length === 0) {
    const nothing = { rounds: 0, virtualTime: 0, bytes: 0, invited: 0, counted: 0, distinctClients: 0 };
    return { ...facts, ...nothing, tiers: [], evaluations: [] };
  }
  const totals = totalsOf(rows);
  return {
    ...facts,
    rounds: totals.rounds,
    virtualTime: totals.virtualTime,
    bytes: totals.downloadBytes + totals.uploadBytes,
    invited: totals.invited,
    counted: totals.counted,
    distinctClients: totals.distinctClients,
    tiers: [...tierTotals(rows).values()].map(({ tier, invited, counted }) => ({ tier, invited, counted })),
    evaluations: rows.findLast(({ evaluations }) => evaluations.length > 0)?.evaluations ?? [],
  };
}

/** Why a run has no place in a mean; null for one that has. */
export function failureOf({ violations, stoppedAfter, evaluations }: Cell): "broke" | "stopped" | "diverged" | null {
  if (violations.length > 0) return "broke";
  if (stoppedAfter !== null) return "stopped";
  return evaluations.every(({ loss }) => Number.isFinite(loss)) ? null : "diverged";
}

/** When the curve first shows the target met; null when it never does. */
export function reachedAt(curve: Curve, target: Target): number | null {
  const reached = curve.find(({ evaluations }) => {
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
