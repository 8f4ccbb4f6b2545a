/** What `cells.jsonl` keeps of a cell of a stress test: enough to measure the time to any target later. */
import { z } from "zod";
import type { RoundMetrics } from "../records/metrics.ts";
import type { CellOutcome, StressPlan } from "./stress.ts";
import { type StressCell, stressCell, type Target } from "./stress-cell.ts";

const count = z.int().min(0);
/** JSON has no NaN: a loss that left the numbers comes back as null. */
const measured = z.union([z.number(), z.null().transform(() => Number.NaN)]);
const evaluations = z.array(z.object({ topK: count, loss: measured, tokenAccuracy: measured, exactMatch: measured }));

export interface StoredCell {
  readonly cell: StressCell;
  /** Of the run's trace; null for a run that broke. */
  readonly digest: string | null;
  readonly curve: readonly Pick<RoundMetrics, "closedAt" | "evaluations">[];
}

export const storedCellSchema: z.ZodType<StoredCell> = z.object({
  cell: z.object({
    strategy: z.string(),
    dropout: z.number(),
    seed: count,
    rounds: count,
    virtualTime: z.number(),
    invited: count,
    counted: count,
    distinctClients: count,
    clients: count,
    tiers: z.array(z.object({ tier: z.string(), invited: count, counted: count })),
    evaluations,
    timeToTarget: z.number().nullable(),
    violations: z.array(z.string()),
  }),
  digest: z.string().nullable(),
  curve: z.array(z.object({ closedAt: z.number(), evaluations })),
});

export function storedCell(
  { label, dropout, seed }: StressPlan,
  { rows, clients, digest, violations }: CellOutcome,
): StoredCell {
  const facts = { strategy: label, dropout, seed, clients, violations };
  const nothing = { rounds: 0, virtualTime: 0, invited: 0, counted: 0, distinctClients: 0, tiers: [] };
  // A run may break before its first row.
  const cell =
    rows.length > 0 ? stressCell(rows, facts) : { ...facts, ...nothing, evaluations: [], timeToTarget: null };
  const evaluated = rows.filter(({ evaluations }) => evaluations.length > 0);
  return { cell, digest, curve: evaluated.map(({ closedAt, evaluations }) => ({ closedAt, evaluations })) };
}

/** The cell as this matrix names it, with the time to this target. */
export function cellOf({ cell, curve }: StoredCell, { label, dropout }: StressPlan, target: Target | null): StressCell {
  const reached = curve.find(({ evaluations }) =>
    evaluations.some(({ topK, loss }) => topK === target?.topK && loss <= target.loss),
  );
  return { ...cell, strategy: label, dropout, timeToTarget: reached?.closedAt ?? null };
}
