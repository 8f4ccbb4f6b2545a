/** How long this machine really takes for a training step of a scenario. */
import { median } from "simple-statistics";
import { Rng } from "../base/random.ts";
import { type Batch, trainBatches } from "../data/batches.ts";
import type { Prepared } from "../run/prepare.ts";
import type { OpenedTask } from "../tasks/kind.ts";
import type { TrainingEngine } from "../tasks/training-engine.ts";

/** Full batches of training examples: what clients of this scenario work on. */
export function realBatches({ training }: Prepared, steps: number): Batch[] {
  const { data, partition, batchSize, length, seed } = training!.setup;
  const indices = partition.indices.subarray(0, Math.min(partition.indices.length, batchSize * steps));
  const draws = new Rng(seed).at("calibration").at(0);
  return trainBatches(data, indices, {
    batchSize,
    length,
    epochs: Math.ceil((batchSize * steps) / indices.length),
    draws,
  }).slice(0, steps);
}

/** At each budget, the median. Budgets take turns, so that a machine that is busy for a while slows all of them down. */
export async function millisecondsPerStep(
  engine: TrainingEngine,
  { task, training }: Prepared,
  batches: readonly Batch[],
  budgets: readonly number[],
  repeats: number,
): Promise<number[]> {
  const { seed, optimizer } = training!.setup;
  const jobs = budgets.map((budget) => ({
    parameters: firstMember(task, seed),
    personal: new Float32Array(task.task.personal).fill(1),
    variant: task.task.budget.variant(budget),
    batches,
    optimizer,
  }));
  // The first step compiles the program.
  for (const job of jobs) await engine.trainCohort([{ ...job, batches: batches.slice(0, 1) }]);
  const times: number[][] = budgets.map(() => []);
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [at, job] of jobs.entries()) {
      const begun = performance.now();
      await engine.trainCohort([job]);
      times[at]!.push((performance.now() - begun) / batches.length);
    }
  }
  return times.map(median);
}

/** What one model starts from. */
export const firstMember = ({ task }: OpenedTask, seed: number): Float32Array => task.initial(new Rng(seed), 0);
