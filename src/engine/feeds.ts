/** What a run of a program is fed, besides the parameters. */
import type { Batch } from "../data/batches.ts";
import type { TensorData } from "../tensor/executors/executor.ts";
import type { OptimizerConfig } from "./engine.ts";

type Feeds = Record<string, TensorData>;

/** The batches of all clients, one after the other. One that has no batch any more has rows of padding. */
export function batchFeeds(
  { rows, length }: Pick<Batch, "rows" | "length">,
  batches: readonly (Batch | null)[],
  experts: number,
): Feeds {
  const responses = batches.reduce((sum, batch) => sum + (batch?.targets.length ?? 0), 0);
  const ids = new Int32Array(batches.length * rows * length);
  const padding = new Int32Array(ids.length).fill(experts);
  const positions = new Int32Array(responses);
  const targets = new Int32Array(responses);
  let filled = 0;
  for (const [client, batch] of batches.entries()) {
    if (batch === null) continue;
    const first = client * rows * length;
    ids.set(batch.ids, first);
    for (const [row, tokens] of batch.lengths.entries()) {
      padding.fill(0, first + row * length, first + row * length + tokens);
    }
    for (const [at, position] of batch.lossPositions.entries()) positions[filled + at] = first + position;
    targets.set(batch.targets, filled);
    filled += batch.targets.length;
  }
  return { ids, padding, positions, targets };
}

/**
 * The numbers of one optimizer step. A client that has no batch any more has rates of 0.
 *
 * @param step from 1 on
 */
export function stepFeeds(optimizer: OptimizerConfig, step: number, batches: readonly (Batch | null)[]): Feeds {
  const { learningRate, rescalerLearningRate, beta1, beta2, weightDecay, clipNorm } = optimizer;
  const counts = batches.map((batch) => batch?.targets.length ?? 0);
  const rates = (rate: number) => Float32Array.from(counts, (count) => (count === 0 ? 0 : rate));
  // One client's is a scalar, and of several each loss position has its own.
  const inverse = (count: number) => new Array<number>(batches.length === 1 ? 1 : count).fill(1 / count);
  return {
    inverseCount: Float32Array.from(counts.flatMap(inverse)),
    learningRate: rates(learningRate),
    rescalerLearningRate: rates(rescalerLearningRate),
    decay: rates(learningRate * weightDecay),
    correction1: Float32Array.of(1 / (1 - beta1 ** step)),
    correction2: Float32Array.of(1 / (1 - beta2 ** step)),
    ...(clipNorm !== null && { clipNorm: Float32Array.of(clipNorm) }),
  };
}
