/** Worker threads of this machine that train. */
import { natureOf } from "../../../actors/training.ts";
import type { WorkerData } from "../../../actors/worker.ts";
import { MachineError } from "../../base/errors.ts";
import { moduleUrl } from "../../base/places.ts";
import { addressesLeft } from "../../base/processes.ts";
import { formatBytes } from "../../base/units.ts";
import { PiscinaPool } from "../../runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../../runtime/pools/pool.ts";
import { makeTask } from "../../tasks/open/kinds.ts";

/** Bytes of addresses that a worker reserves: its JavaScript heap for the most part. */
const addressesOfWorker = 0.75e9;

/** @param taskLimit real minutes after which a worker that finishes no step is held to be stuck; 10 unless given */
export function threadPool(workerData: WorkerData, workers: number, taskLimit?: number): WorkPool {
  const [left, needed] = [addressesLeft(), workers * addressesOfWorker];
  if (left < needed) {
    throw new MachineError(
      `${workers} workers need ${formatBytes(needed)} of addresses, and this process may use ${formatBytes(left)} more; ` +
        "take fewer with --workers, or lift the limit with ulimit -v unlimited",
    );
  }
  const worker = moduleUrl("actors/worker");
  const { cost } = makeTask(workerData.engine.task);
  const limit = taskLimit === undefined ? {} : { stuckAfter: taskLimit * 60_000 };
  return new PiscinaPool({ worker, workers, workerData, natureOf: natureOf(workerData.setup, cost), ...limit });
}
