import { invariant } from "../../base/errors.ts";
import type { Batch } from "../../data/batches.ts";
import type { AdapterLayout } from "../../model/adapter.ts";
import type { ModelConfig } from "../../model/config.ts";

export interface CheckedJob {
  readonly adapter: Float32Array;
  readonly rescaler: Float32Array;
  readonly topK: number;
  readonly batches: readonly Batch[];
}

/** Refuses what would make native code read out of bounds. @throws InvariantError */
export function checkJob(
  { adapter, rescaler, topK, batches }: CheckedJob,
  config: ModelConfig,
  layout: AdapterLayout,
): void {
  const { layers, experts } = config;
  const { size } = layout;
  invariant(adapter.length === size, () => `adapter: expected ${size} values, got ${adapter.length}`);
  invariant(rescaler.length === layers, () => `rescaler: expected ${layers} values, got ${rescaler.length}`);
  const possible = Number.isInteger(topK) && topK >= 1 && topK <= experts;
  invariant(possible, () => `topK: expected 1 to ${experts}, got ${topK}`);
  for (const batch of batches) checkBatch(batch, config);
}

function checkBatch({ rows, length, ids, lengths, lossPositions, targets }: Batch, config: ModelConfig): void {
  const { maxTokens, vocabulary } = config;
  invariant(length <= maxTokens, () => `batch: expected at most ${maxTokens} tokens a row, got ${length}`);
  const fits = ids.length === rows * length && lengths.length === rows;
  invariant(fits, () => `batch: ids do not fill ${rows} rows of ${length}`);
  invariant(
    lossPositions.length > 0 && lossPositions.length === targets.length,
    "batch: expected a target at every loss position, and at least one",
  );
  const inside = (values: Int32Array, limit: number, what: string) => {
    for (const value of values)
      invariant(value >= 0 && value < limit, () => `batch: ${what} expected in [0, ${limit}), got ${value}`);
  };
  inside(ids, vocabulary, "token id");
  inside(targets, vocabulary, "target id");
  inside(lossPositions, ids.length, "loss position");
  inside(lengths, length + 1, "row length");
}
