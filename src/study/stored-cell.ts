/** What `cells.jsonl` keeps of a cell: enough to measure the time to any target later. */
import { z } from "zod";
import { count } from "../records/counts.ts";
import { budgetMetricsSchema } from "../records/metrics.ts";
import { type Cell, cellFrom, cellSchema, reachedAt, type Target } from "./cell.ts";
import type { CellOutcome, CellPlan } from "./matrix.ts";

export const storedCellSchema = z.object({
  cell: cellSchema,
  /** Of the run's trace; null for a run that broke. */
  digest: z.string().nullable(),
  curve: z
    .array(z.object({ round: count, closedAt: z.number(), evaluations: z.array(budgetMetricsSchema).readonly() }))
    .readonly(),
});
export type StoredCell = Readonly<z.output<typeof storedCellSchema>>;

export function storedCell(
  { label, dropout, seed }: CellPlan,
  { rows, clients, digest, costs, fairness, violations }: CellOutcome,
): StoredCell {
  const facts = { strategy: label, dropout, seed, clients, costs, fairness, violations };
  const nothing = { rounds: 0, virtualTime: 0, bytes: 0, invited: 0, counted: 0, distinctClients: 0, tiers: [] };
  // A run may break before its first row.
  const cell = rows.length > 0 ? cellFrom(rows, facts) : { ...facts, ...nothing, evaluations: [], timeToTarget: null };
  const evaluated = rows.filter(({ evaluations }) => evaluations.length > 0);
  return {
    cell,
    digest,
    curve: evaluated.map(({ round, closedAt, evaluations }) => ({ round, closedAt, evaluations })),
  };
}

/** The cell as this matrix names it, with the time to this target. */
export function cellOf({ cell, curve }: StoredCell, { label, dropout }: CellPlan, target: Target | null): Cell {
  return { ...cell, strategy: label, dropout, timeToTarget: reachedAt(curve, target) };
}
