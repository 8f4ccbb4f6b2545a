/** The pool of a run that trains, except that some of its tasks meet with a fault of the machine. */

import type { Prepared } from "../../src/run/prepare.ts";
import { PiscinaPool, type PiscinaPoolOptions } from "../../src/runtime/pools/piscina-pool.ts";
import type { EngineOptions } from "../../src/tasks/open/create-engine.ts";
import type { UnrulyData } from "./unruly-worker.ts";

type Fault = Pick<UnrulyData, "fault" | "after" | "times"> & Partial<PiscinaPoolOptions>;

/** Two workers, for the adapter of rank 2 that tests train. */
export const unrulyPool =
  ({ fault, after, times, ...options }: Fault, engine: Partial<EngineOptions> = {}) =>
  ({ training }: Prepared): PiscinaPool => {
    const { setup, spec } = training!;
    const taken = new Int32Array(new SharedArrayBuffer(4));
    const given = { task: spec, ...engine };
    const workerData: UnrulyData = { setup, engine: given, fault, after, times, taken };
    const worker = new URL("./unruly-worker.ts", import.meta.url);
    return new PiscinaPool({ worker, workers: 2, workerData, ...options });
  };
