/** An interrupted run ends between two events; the present one may be the training of a whole cohort. */
import type { PoolDiagnostics, WorkPool } from "../runtime/pools/pool.ts";

/** Real milliseconds that an interrupted run waits for the present event to end. */
const grace = 20_000;

/** @returns false when `signal` was given and the action did not come to an end in time */
export async function stoppedInTime(signal: AbortSignal | undefined, action: () => Promise<void>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  let giveUp = () => {};
  const late = new Promise<boolean>((resolve) => {
    giveUp = () => {
      timer = setTimeout(resolve, grace, false);
    };
  });
  // Tests have signals that are none.
  signal?.addEventListener?.("abort", giveUp, { once: true });
  if (signal instanceof AbortSignal && signal.aborted) giveUp();
  try {
    const done = action().then(() => true);
    // Given up, it may still fail; nobody wants to know.
    done.catch(() => {});
    return await Promise.race([done, late]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener?.("abort", giveUp);
  }
}

/** Events between two visits to Node's event loop. */
const breath = 64;

/**
 * Whether Node's event loop should be let in, which hears Ctrl-C: the kernel goes there after thousands of events, and they
 * may be slow. It is asked between any two, and goes by their number: which rows are out when a checkpoint is written must
 * not depend on the clock.
 */
export function breathing(): () => boolean {
  let asked = 0;
  return () => ++asked % breath === 0;
}

interface HaltablePool extends WorkPool {
  halt(): void;
}

/** A pool that can be told to begin nothing more: a run that was interrupted does not wait for work in the queue. */
export function haltable(pool: WorkPool): HaltablePool {
  let isHalted = false;
  return {
    get workers(): number {
      return pool.workers;
    },
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
