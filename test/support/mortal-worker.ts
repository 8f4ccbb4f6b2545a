/** The run's own worker, except that the first thread to take its third task dies in the middle of it. */
import { threadId, workerData } from "node:worker_threads";
import { trainingHandlers } from "../../actors/training.ts";
import type { WorkerData } from "../../actors/worker.ts";
import { createEngine } from "../../src/engine/create.ts";
import { hostWorker } from "../../src/runtime/pools/worker-host.ts";

export interface MortalData extends WorkerData {
  /** Shared by all threads: tasks taken, and whether one has died. */
  readonly fate: Int32Array;
}

const given = workerData as MortalData;
const work = hostWorker(
  trainingHandlers(
    () => given.setup,
    () => createEngine(given.engine),
  ),
);

export default async (task: Parameters<typeof work>[0]) => {
  if (Atomics.add(given.fate, 0, 1) === 2 && Atomics.exchange(given.fate, 1, threadId) === 0) process.exit(1);
  return work(task);
};
