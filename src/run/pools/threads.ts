/** Worker threads of this machine that train. */
import { extname } from "node:path";
import { programOf } from "../../../actors/training.ts";
import type { WorkerData } from "../../../actors/worker.ts";
import { PiscinaPool } from "../../runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../../runtime/pools/pool.ts";

/** @param taskLimit real minutes after which a worker that finishes no step is held to be stuck; 10 unless given */
export function threadPool(workerData: WorkerData, workers: number, taskLimit?: number): WorkPool {
  const worker = new URL(`../../../actors/worker${extname(import.meta.url)}`, import.meta.url);
  const limit = taskLimit === undefined ? {} : { stuckAfter: taskLimit * 60_000 };
  return new PiscinaPool({ worker, workers, workerData, kindOf: programOf, ...limit });
}
