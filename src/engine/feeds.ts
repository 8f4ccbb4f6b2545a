/** What a run of a program is fed, besides the parameters. */
import type { Batch } from "../data/batches.ts";
import type { TensorData } from "../tensor/executors/executor.ts";
import type { Inputs, OptimizerConfig } from "./engine.ts";

type Feeds = Record<string, TensorData>;

/**
 * The batches of all clients, one after the other. One that has no batch any more has rows of padding.
 *
 * @param padding what stands in the input of that name where there is no unit; 0 stands at units
 */
export function batchFeeds(
  { rows, length }: Pick<Batch, "rows" | "length">,
  batches: readonly (Batch | null)[],
  padding: number,
): Feeds {
  const inputs = batches.length === 1 ? batches[0]!.inputs : joinedInputs(batches);
  const losses = batches.reduce((sum, batch) => sum + (batch?.targets.length ?? 0), 0);
  const mask = new Int32Array(batches.length * rows * length).fill(padding);
  const positions = new Int32Array(losses);
  const targets = new Int32Array(losses);
  let filled = 0;
  for (const [client, batch] of batches.entries()) {
    if (batch === null) continue;
    const first = client * rows * length;
    for (const [row, units] of batch.lengths.entries()) {
      mask.fill(0, first + row * length, first + row * length + units);
    }
    for (const [at, position] of batch.lossPositions.entries()) positions[filled + at] = first + position;
    targets.set(batch.targets, filled);
    filled += batch.targets.length;
  }
  return { ...inputs, padding: mask, positions, targets };
}

function joinedInputs(batches: readonly (Batch | null)[]): Feeds {
  const some = batches.find((batch) => batch !== null)!;
  return Object.fromEntries(
    Object.entries(some.inputs).map(([name, values]) => {
      const { length } = values;
      const all = batches.length * length;
      const joined = values instanceof Int32Array ? new Int32Array(all) : new Float32Array(all);
      for (const [client, batch] of batches.entries()) if (batch) joined.set(batch.inputs[name]!, client * length);
      return [name, joined];
    }),
  );
}

/**
 * The numbers of one optimizer step. A client that has no batch any more has rates of 0.
 *
 * @param step from 1 on
 */
export function stepFeeds(optimizer: OptimizerConfig, step: number, batches: readonly (Batch | null)[]): Feeds {
  const { learningRate, personalLearningRate, beta1, beta2, weightDecay, clipNorm } = optimizer;
  const counts = batches.map((batch) => batch?.targets.length ?? 0);
  const rates = (rate: number) => Float32Array.from(counts, (count) => (count === 0 ? 0 : rate));
  // One client's is a scalar, and of several each loss position has its own.
  const inverse = (count: number) => new Array<number>(batches.length === 1 ? 1 : count).fill(1 / count);
  return {
    inverseCount: Float32Array.from(counts.flatMap(inverse)),
    learningRate: rates(learningRate),
    personalLearningRate: rates(personalLearningRate),
    decay: rates(learningRate * weightDecay),
    correction1: Float32Array.of(1 / (1 - beta1 ** step)),
    correction2: Float32Array.of(1 / (1 - beta2 ** step)),
    ...(clipNorm !== null && { clipNorm: Float32Array.of(clipNorm) }),
  };
}

/** What a program does not ask for is not handed to it. */
export const withoutOthers = (feeds: Feeds, wants: ReadonlySet<string>): Feeds =>
  Object.fromEntries(Object.entries(feeds).filter(([name]) => wants.has(name)));

/** The inputs of all clients under one name, one after the other. */
export function vectorsOf(clients: readonly Inputs[]): Record<string, Float32Array> {
  const [first] = clients as readonly [Inputs];
  return Object.fromEntries(
    Object.entries(first).map(([name, value]) => {
      if (typeof value === "number") return [name, Float32Array.from(clients, (inputs) => inputs[name] as number)];
      if (clients.length === 1) return [name, value];
      const joined = new Float32Array(value.length * clients.length);
      for (const [at, inputs] of clients.entries()) joined.set(inputs[name] as Float32Array, at * value.length);
      return [name, joined];
    }),
  );
}
