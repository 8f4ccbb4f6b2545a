/** What an evaluation counts: sums, so that shards add up. */
import type { Batch } from "../../data/batches.ts";
import type { TensorData } from "../../tensor/executors/executor.ts";
import type { Evaluation } from "./training-engine.ts";

type Scores = { -readonly [Field in keyof Evaluation]: Evaluation[Field] };

export const emptyScores = (groups: number): Scores => ({
  loss: 0,
  responseTokens: 0,
  correctTokens: 0,
  exact: 0,
  examples: 0,
  activations: new Float64Array(groups),
});

/**
 * Adds one batch's scores. A row is exact when every one of its response tokens is predicted.
 *
 * @param out of an evaluation program
 */
export function addScores(
  scores: Scores,
  { length, lossPositions, targets }: Batch,
  out: Readonly<Record<string, TensorData>>,
): void {
  const losses = out.losses as Float32Array;
  const predicted = out.predicted!;
  let row = -1;
  let exact = false;
  for (const [i, position] of lossPositions.entries()) {
    const right = Number(predicted[i]) === targets[i];
    const here = Math.floor(position / length);
    if (here !== row) {
      if (exact) scores.exact++;
      scores.examples++;
      row = here;
      exact = true;
    }
    scores.loss += losses[i]!;
    scores.responseTokens++;
    if (right) scores.correctTokens++;
    else exact = false;
  }
  if (exact) scores.exact++;
  for (const [group, count] of out.counts!.entries()) scores.activations[group]! += Number(count);
}
