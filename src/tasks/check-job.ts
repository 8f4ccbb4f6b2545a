/** Refuses what would make native code read out of bounds. */
import { invariant } from "../base/errors.ts";
import type { Batch } from "../data/batches.ts";
import type { Task, Variant } from "./task.ts";

interface CheckedJob {
  readonly parameters: Float32Array;
  readonly personal: Float32Array;
  readonly variant: Variant;
  readonly batches: readonly Batch[];
}

/** @throws InvariantError */
export function checkJob({ parameters, personal, variant, batches }: CheckedJob, task: Task): void {
  const { size } = task.layout;
  invariant(parameters.length === size, () => `parameters: expected ${size} values, got ${parameters.length}`);
  invariant(
    personal.length === task.personal,
    () => `personal: expected ${task.personal} values, got ${personal.length}`,
  );
  task.checkVariant?.(variant);
  for (const batch of batches) {
    checkBatch(batch);
    task.checkBatch?.(batch);
  }
}

function checkBatch({ rows, length, inputs, lengths, lossPositions, targets }: Batch): void {
  invariant(lengths.length === rows, () => `batch: ${lengths.length} lengths for ${rows} rows`);
  for (const [name, values] of Object.entries(inputs))
    invariant(values.length % rows === 0, () => `batch: ${values.length} values of ${name} do not fill ${rows} rows`);
  invariant(
    lossPositions.length > 0 && lossPositions.length === targets.length,
    "batch: expected a target at every loss position, and at least one",
  );
  requireInside(lossPositions, rows * length, "loss position");
  requireInside(lengths, length + 1, "row length");
}

/** @throws InvariantError naming the first value that is not in [0, limit) */
export function requireInside(values: Int32Array, limit: number, what: string): void {
  for (const value of values)
    invariant(value >= 0 && value < limit, () => `batch: ${what} expected in [0, ${limit}), got ${value}`);
}
