/** What of a job and of its result can be true of a language model. */
import { invariant } from "../../base/errors.ts";
import { type Batch, idsOf } from "../../data/batches.ts";
import type { AdapterLayout } from "../../model/adapter.ts";
import type { ModelConfig } from "../../model/config.ts";
import { requireInside } from "../check-job.ts";
import type { Variant } from "../task.ts";

/** @throws InvariantError */
export function checkTokens(batch: Batch, { maxTokens, vocabulary }: ModelConfig): void {
  const { rows, length, targets } = batch;
  const ids = idsOf(batch);
  invariant(length <= maxTokens, () => `batch: expected at most ${maxTokens} tokens a row, got ${length}`);
  invariant(ids.length === rows * length, () => `batch: ids do not fill ${rows} rows of ${length}`);
  requireInside(ids, vocabulary, "token id");
  requireInside(targets, vocabulary, "target id");
}

/** Every token of every layer goes to as many experts as its variant says, and to none twice. */
export function countProblem(
  counts: Float64Array,
  tokens: number,
  { topK, kept }: Variant,
  { layers, experts, pool }: AdapterLayout,
): string | null {
  if (!isCount(Number(topK)) || Number(topK) < 1 || Number(topK) > experts)
    return `topK is ${topK}, expected an integer in [1, ${experts}]`;
  const each = pool?.beside.experts ?? experts;
  const [name, chosen] = pool === null ? ["topK", Number(topK)] : ["kept", Number(kept ?? each)];
  for (let layer = 0; layer < layers; layer++) {
    let sum = 0;
    for (let expert = 0; expert < each; expert++) {
      const count = counts[layer * each + expert]!;
      if (!isCount(count) || count > tokens) {
        return `layer ${layer}, expert ${expert} was activated ${count} times by ${tokens} tokens`;
      }
      sum += count;
    }
    if (sum !== chosen * tokens) {
      return `activations of layer ${layer} sum to ${sum}, expected ${name} · tokens = ${chosen * tokens}`;
    }
  }
  const odd = counts.subarray(layers * each).findIndex((count) => count !== tokens);
  return odd < 0
    ? null
    : `group ${layers * each + odd} was passed ${counts[layers * each + odd]} times by ${tokens} tokens`;
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
