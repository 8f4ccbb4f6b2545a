/** One worker of a measurement: trains on the step of `step.ts`, with an engine that it keeps. */

import { loadCheckpoint } from "../src/model/formats/checkpoint.ts";
import { prepareBaseWeights } from "../src/model/formats/prepare-weights.ts";
import type { TaskEngine } from "../src/tasks/task-engine.ts";
import { benchEngine, benchJob } from "./step.ts";

export interface StepTask {
  /** Where `randomWeights` put its files. */
  readonly folder: string;
  readonly steps: number;
}

let engine: TaskEngine | undefined;

/** @returns milliseconds per step */
export default async function run({ folder, steps }: StepTask): Promise<number> {
  engine ??= benchEngine(await prepareBaseWeights(loadCheckpoint(`${folder}/model`), folder));
  const job = benchJob(engine.task.layout.size, 8);
  const batches = Array.from({ length: steps }, (_, i) => job.batches[i % job.batches.length]!);
  const start = performance.now();
  await engine.trainCohort([{ ...job, batches }]);
  return (performance.now() - start) / steps;
}
