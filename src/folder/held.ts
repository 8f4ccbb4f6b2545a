/** A run folder while this process writes to it. */
import type { Lock } from "./lock.ts";
import { type RunFolder, readRecord, writeRecord } from "./run-folder.ts";

/**
 * Does something with a run folder and lets go of its lock, however that ends: with a result, with an error, or with the
 * process. Afterwards `run.json` does not go on saying that the run is running.
 */
export async function whileHeld<Result>(folder: RunFolder, lock: Lock, action: () => Promise<Result>): Promise<Result> {
  const letGo = () => {
    try {
      lock.check();
      const record = readRecord(folder);
      if (record?.state === "running") writeRecord(folder, { ...record, state: "failed" });
    } catch {
      // The error that ends the run matters more; a disk that is full keeps what it has.
    }
    lock.release();
  };
  // Before what is unfinished is removed: the lock is among it.
  process.prependOnceListener("exit", letGo);
  try {
    return await action();
  } finally {
    process.off("exit", letGo);
    letGo();
  }
}
