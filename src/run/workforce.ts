/** Who trains: worker threads, and how clients share the calls they make. */
import { extname } from "node:path";
import { gatherTraining } from "../../actors/training.ts";
import type { WorkerData } from "../../actors/worker.ts";
import { ScenarioError } from "../base/errors.ts";
import { evaluationBatches } from "../data/batches.ts";
import { chooseEngine, createExecutor, mergeLimit } from "../engine/create.ts";
import { isAlone, type MergeLimit } from "../engine/merge-limit.ts";
import type { EngineName } from "../engine/names.ts";
import type { RouterMasses } from "../fl/rescaler.ts";
import type { LoraConfig } from "../model/adapter.ts";
import type { Gathering } from "../runtime/pledges.ts";
import { InlinePool } from "../runtime/pools/inline-pool.ts";
import { PiscinaPool } from "../runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import type { Scenario } from "../scenario/define.ts";
import { clientsPerCall } from "../tasks/llm/client-memory.ts";
import { loraFormFor } from "../tasks/llm/lora-form.ts";
import { routerMasses } from "../tasks/llm/router-mass.ts";
import { llmTask } from "../tasks/llm/task.ts";
import { TaskPrograms } from "../tasks/programs.ts";
import type { Prepared } from "./prepare.ts";

export interface Equipment {
  readonly lora: LoraConfig;
  readonly engine: EngineName;
  readonly merge?: "auto" | MergeLimit;
  /** Real minutes after which a worker that finishes no step is held to be stuck; 10 unless given. */
  readonly taskLimit?: number;
}

/** A device has one owner: on a GPU there is one worker, whatever was asked for. */
export function makePool({ training, layout }: Prepared, workers: number, equipment: Equipment): WorkPool {
  // Without training there is nothing to do elsewhere.
  if (training === null) return new InlinePool({});
  if (workers === 0) throw new ScenarioError("--workers is 0, expected at least 1");
  const { lora, taskLimit, merge = "auto" } = equipment;
  const { engine, gpu } = chooseEngine(equipment.engine);
  const { shape } = layout;
  const chosen = { baseWeights: training.weights, lora, shape, engine, merge: mergeLimit(merge, gpu) };
  const workerData: WorkerData = { setup: training.setup, engine: chosen };
  const worker = new URL(`../../actors/worker${extname(import.meta.url)}`, import.meta.url);
  const limit = taskLimit === undefined ? {} : { stuckAfter: taskLimit * 60_000 };
  return new PiscinaPool({ worker, workers: gpu ? 1 : workers, workerData, ...limit });
}

/** What a strategy's own steps are made of; null in runs without training. */
export function programsOf({ training, config, layout }: Prepared, { engine, lora }: Equipment): TaskPrograms | null {
  if (training === null) return null;
  const form = chooseEngine(engine).engine === "onnx-webgpu" ? "padded" : loraFormFor(config);
  return new TaskPrograms(llmTask({ config, lora, form, shape: layout.shape }));
}

/** How many clients of a budget share a call at most. */
export function mostTogether({ training, config }: Prepared, equipment: Equipment): (budget: number) => number {
  const { lora, engine, merge = "auto" } = equipment;
  const limit = mergeLimit(merge, chooseEngine(engine).gpu);
  if (training === null || isAlone(limit)) return () => 1;
  const { setup } = training;
  const shape = { rows: setup.batchSize, length: setup.length };
  const known = new Map<number, number>();
  return (budget) => {
    const most = known.get(budget) ?? clientsPerCall(limit, config, lora, { ...shape, topK: budget });
    known.set(budget, most);
    return most;
  };
}

/** Null when every client has a call of its own: then it trains as soon as its update is accepted. */
export function gatheringOf(
  { training }: Prepared,
  { engine, merge = "auto" }: Equipment,
  most: (budget: number) => number,
  onProblem: (problem: string) => void,
): Gathering | null {
  if (training === null || isAlone(mergeLimit(merge, chooseEngine(engine).gpu))) return null;
  return gatherTraining(training.setup, most, onProblem);
}

/** What rescalers with the init `mass` start from; null for any other. */
export async function massesOf(
  { data }: Scenario,
  { training }: Prepared,
  engine: EngineName,
): Promise<RouterMasses | null> {
  if (training === null || data.rescaler.init !== "mass") return null;
  const { weights, setup } = training;
  const executor = await createExecutor(chooseEngine(engine).engine, 1);
  return routerMasses(executor, weights, evaluationBatches(setup.data, setup.evaluation, setup));
}
