/** What an evaluation counts: sums, so that shards add up. */
import type { Batch } from "../data/batches.ts";
import type { TensorData } from "../tensor/executors/executor.ts";
import type { Mix, Task } from "./task.ts";
import type { Evaluation } from "./training-engine.ts";

type Scores = { -readonly [Field in keyof Evaluation]: Evaluation[Field] };

export const emptyScores = (groups: number): Scores => ({
  loss: 0,
  targets: 0,
  correct: 0,
  exact: 0,
  examples: 0,
  more: {},
  counts: new Float64Array(groups),
});

/**
 * Adds one batch's scores. A row is exact when all of its targets are predicted.
 *
 * @param out of an evaluation program
 * @param more what a task counts besides
 */
export function addScores(
  scores: Scores,
  batch: Batch,
  out: Readonly<Record<string, TensorData>>,
  more?: NonNullable<Task["evaluation"]>["sums"],
): void {
  const { length, lossPositions, targets } = batch;
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
    scores.targets++;
    if (right) scores.correct++;
    else exact = false;
  }
  if (exact) scores.exact++;
  if (more) scores.more = added(scores.more, more(out, batch));
  for (const [group, count] of out.counts!.entries()) scores.counts[group]! += Number(count);
}

const added = (sums: Readonly<Record<string, number>>, some: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(some).map(([name, value]) => [name, (sums[name] ?? 0) + value]));

/**
 * What several models predict together: −log of the mean of their probabilities at each target, or of the softmax of
 * their mean logits, and the likeliest token, the lower one where two are equal.
 *
 * @param predictions with logits, of the same batch
 */
export function together(
  predictions: readonly Readonly<Record<string, TensorData>>[],
  { targets }: Batch,
  mix: Mix,
): Record<string, TensorData> {
  const losses = new Float32Array(targets.length);
  const predicted = new Int32Array(targets.length);
  const counts = Float32Array.from(predictions[0]!.counts!, Number);
  for (const other of predictions.slice(1))
    for (const [i, count] of other.counts!.entries()) counts[i]! += Number(count);
  const classes = (predictions[0]!.logits as Float32Array).length / Math.max(1, targets.length);
  const mean = new Float64Array(classes);
  for (const [at, target] of targets.entries()) {
    mean.fill(0);
    for (const { logits } of predictions) {
      const row = Float64Array.from((logits as Float32Array).subarray(at * classes, (at + 1) * classes));
      const term = mix === "logits" ? row : softmax(row);
      for (let i = 0; i < classes; i++) mean[i]! += term[i]! / predictions.length;
    }
    const probabilities = mix === "logits" ? softmax(mean) : mean;
    losses[at] = -Math.log(probabilities[target]!);
    let best = 0;
    for (let i = 1; i < classes; i++) if (mean[i]! > mean[best]!) best = i;
    predicted[at] = best;
  }
  return { losses, predicted, counts };
}

function softmax(logits: Float64Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const exponentials = logits.map((logit) => Math.exp(logit - most));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map((value) => value / sum);
}
