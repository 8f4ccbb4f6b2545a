/**
 * An engine without a model, for tests of everything around it: each step moves every used expert a little towards 1,
 * and the loss is the adapter's mean distance from there. Deterministic, and as honest about counts as a real one.
 */

import { trainingHandlers } from "../../actors/training.ts";
import { type Batch, idsOf } from "../../src/data/batches.ts";
import type { AdapterLayout } from "../../src/model/adapter.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import type { Handlers, PoolDiagnostics, Task, WorkPool } from "../../src/runtime/pools/pool.ts";
import type {
  Evaluation,
  EvaluationJob,
  TrainingEngine,
  TrainJob,
  TrainResult,
} from "../../src/tasks/training-engine.ts";
import { openedLlm } from "./opened-llm.ts";

export class ToyEngine implements TrainingEngine {
  readonly name = "toy";
  readonly #layout: AdapterLayout;

  constructor(layout: AdapterLayout) {
    this.#layout = layout;
  }

  async trainCohort(jobs: readonly TrainJob[]): Promise<TrainResult[]> {
    return jobs.map((job) => this.#train(job));
  }

  async evaluate({ models, batches }: EvaluationJob): Promise<Evaluation> {
    const { parameters: adapter, variant } = models[0]!;
    const { layers, experts } = this.#layout;
    const distance = distanceOf(adapter);
    const sums = { loss: 0, targets: 0, correct: 0, exact: 0, examples: 0, more: {} };
    for (const { lossPositions, lengths } of batches) {
      const examples = lengths.filter((length) => length > 0).length;
      // A larger budget sees a little more of what was learned.
      sums.loss += lossPositions.length * (distance + 1 / (variant.topK as number));
      sums.targets += lossPositions.length;
      sums.correct += Math.floor(lossPositions.length * Math.max(0, 1 - distance));
      sums.exact += Math.floor(examples * Math.max(0, 1 - distance));
      sums.examples += examples;
    }
    return { ...sums, counts: new Float64Array(layers * experts) };
  }

  dispose(): void {}

  #train({ parameters: adapter, personal, variant, batches, optimizer }: TrainJob): TrainResult {
    const { layers, experts } = this.#layout;
    const values = adapter.slice();
    const counts = new Float64Array(layers * experts);
    const losses = new Float32Array(batches.length);
    let units = 0;
    for (const [step, batch] of batches.entries()) {
      losses[step] = distanceOf(values);
      const seen = batch.lengths.reduce((sum, length) => sum + length, 0);
      units += seen;
      for (let layer = 0; layer < layers; layer++) {
        for (let rank = 0; rank < Number(variant.topK); rank++) {
          const expert = layer * experts + ((firstToken(batch) + rank) % experts);
          counts[expert]! += seen;
          for (const { start, end } of this.#layout.ranges(expert)) {
            for (let i = start; i < end; i++) values[i]! += optimizer.learningRate * 20 * (1 - values[i]!);
          }
        }
      }
    }
    // What `lossBefore` finds, for methods that ask.
    const found = { loss: Float64Array.of(distanceOf(adapter)), targets: Float64Array.of(1) };
    return { parameters: values, personal: personal.map((s) => s + 0.01), counts, units, losses, found };
  }
}

function distanceOf(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += Math.abs(1 - value);
  return sum / values.length;
}

const firstToken = ({ inputs, lengths }: Batch): number => idsOf({ inputs })[0]! + lengths[0]!;

/** @param lossOf of a step, in place of the toy's own */
const handlersFor = ({ task, training }: Prepared, lossOf?: (batch: Batch) => number): Handlers =>
  trainingHandlers(
    () => training!.setup,
    async () => {
      const toy = new ToyEngine(openedLlm(task).adapter);
      if (lossOf === undefined) return toy;
      const train = async (jobs: readonly TrainJob[]): Promise<TrainResult[]> =>
        (await toy.trainCohort(jobs)).map((result, at) => ({
          ...result,
          losses: Float32Array.from(jobs[at]!.batches, lossOf),
        }));
      return { name: "toy", trainCohort: train, evaluate: (job) => toy.evaluate(job), dispose: () => toy.dispose() };
    },
  );

/** Trains on this thread; the loss of a step is what is said. */
export const losingPool =
  (lossOf: (batch: Batch) => number) =>
  (prepared: Prepared): WorkPool =>
    new InlinePool(handlersFor(prepared, lossOf));

/** Trains on this thread. */
export const toyPool = (prepared: Prepared): WorkPool => new InlinePool(handlersFor(prepared));

/** Keeps a list of the work that was done. */
export function countingPool(done: string[]): (prepared: Prepared) => WorkPool {
  return (prepared) => {
    const inner = toyPool(prepared);
    return {
      workers: 1,
      get diagnostics(): PoolDiagnostics {
        return inner.diagnostics;
      },
      run: (task: Task, isWanted) => {
        done.push(task.work);
        return inner.run(task, isWanted);
      },
      close: () => inner.close(),
    };
  };
}

/** Finishes tasks in an order that has nothing to do with the order they came in, as threads do. */
export function scrambledPool(prepared: Prepared): WorkPool {
  const inner = toyPool(prepared);
  let waiting: (() => void)[] = [];
  let turn = 0;
  const letSomeGo = () => {
    // Every other time the last comes first.
    const batch = waiting;
    waiting = [];
    if (turn++ % 2 === 0) batch.reverse();
    for (const go of batch) go();
  };
  return {
    workers: 4,
    get diagnostics(): PoolDiagnostics {
      return inner.diagnostics;
    },
    async run(task: Task, isWanted) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        setImmediate(letSomeGo);
      });
      return inner.run(task, isWanted);
    },
    close: () => inner.close(),
  };
}
