/** One worker of the scaling measurement: says when it is ready, then times its steps while the others run. */
import { parentPort, workerData } from "node:worker_threads";
import { loadCheckpoint } from "../src/model/checkpoint.ts";
import { prepareBaseWeights } from "../src/model/prepare-weights.ts";
import { benchEngine, benchJob } from "./step.ts";

const repeats = 8;

async function main(): Promise<void> {
  const { folder } = workerData as { folder: string };
  const engine = benchEngine(await prepareBaseWeights(loadCheckpoint(`${folder}/model`), folder));
  const job = benchJob(engine.layout.size, 8);
  await engine.trainCohort([job]);
  parentPort!.once("message", async () => {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) await engine.trainCohort([job]);
    parentPort!.postMessage((repeats * job.batches.length * 1_000) / (performance.now() - start));
    engine.dispose();
  });
  parentPort!.postMessage(0);
}

void main();
