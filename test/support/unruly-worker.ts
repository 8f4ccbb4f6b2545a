/** The run's own worker, except that some of its tasks meet with a fault of the machine. */
import { workerData } from "node:worker_threads";
import { trainingHandlers } from "../../actors/training.ts";
import type { WorkerData } from "../../actors/worker.ts";
import { hostWorker } from "../../src/runtime/pools/worker-host.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";

export interface UnrulyData extends WorkerData {
  /** `die`: ends at once. `hang`: never comes back. `exhaust`: fills its heap. `scribble`: writes over blobs it reads. */
  readonly fault: "die" | "hang" | "exhaust" | "scribble";
  /** Tasks that go well before the first that does not, and how many do not. */
  readonly after: number;
  readonly times: number;
  /** Tasks taken by all threads together. */
  readonly taken: Int32Array;
}

const given = workerData as UnrulyData;
const work = hostWorker(
  trainingHandlers(
    () => given.setup,
    () => createEngine(given.engine),
  ),
);

export default async (batch: Parameters<typeof work>[0]) => {
  const number = Atomics.add(given.taken, 0, 1);
  if (number < given.after || number >= given.after + given.times) return work(batch);
  switch (given.fault) {
    case "die":
      return process.exit(1);
    case "hang":
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      return work(batch);
    case "exhaust":
      for (const hoard: number[][] = []; ; ) hoard.push(new Array<number>(1_000).fill(number));
    case "scribble":
      for (const [, content] of batch.tasks.flatMap(({ blobs }) => blobs)) content.fill(7);
      return work(batch);
  }
};
