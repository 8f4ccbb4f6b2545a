/** A worker thread: one engine, made when the first job comes, and the handlers that use it. */
import { workerData } from "node:worker_threads";
import { beat, hostWorker } from "../src/runtime/pools/worker-host.ts";
import { createEngine, type EngineOptions } from "../src/tasks/open/create-engine.ts";
import { type TrainingSetup, trainingHandlers } from "./training.ts";

/** What the main thread gives a worker on its way. */
export interface WorkerData {
  readonly setup: TrainingSetup;
  readonly engine: EngineOptions;
}

const given = workerData as WorkerData;

export default hostWorker(
  trainingHandlers(
    () => given.setup,
    () => createEngine({ ...given.engine, onStep: beat }),
  ),
);
