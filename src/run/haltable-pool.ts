/** A pool that can be told to begin nothing more: a run that was interrupted does not wait for work in the queue. */
import type { PoolDiagnostics, WorkPool } from "../runtime/pools/pool.ts";

export interface HaltablePool extends WorkPool {
  halt(): void;
}

export function haltable(pool: WorkPool): HaltablePool {
  let isHalted = false;
  return {
    workers: pool.workers,
    get diagnostics(): PoolDiagnostics {
      return pool.diagnostics;
    },
    run: (task, isWanted = () => true) => pool.run(task, () => !isHalted && isWanted()),
    close: () => pool.close(),
    halt() {
      isHalted = true;
    },
  };
}
