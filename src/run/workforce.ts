/** Who trains: worker threads, and how clients share the calls they make. */
import { extname } from "node:path";
import { gatherTraining, programOf } from "../../actors/training.ts";
import type { WorkerData } from "../../actors/worker.ts";
import { evaluationBatches } from "../data/batches.ts";
import { chooseEngine, createExecutor, mergeLimit } from "../engine/create.ts";
import { isAlone, type MergeLimit } from "../engine/merge-limit.ts";
import type { EngineName } from "../engine/names.ts";
import type { RouterMasses } from "../fl/rescaler.ts";
import type { Gathering } from "../runtime/pledges.ts";
import { InlinePool } from "../runtime/pools/inline-pool.ts";
import { PiscinaPool } from "../runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import type { Scenario } from "../scenario/define.ts";
import { clientsPerCall } from "../tasks/client-memory.ts";
import { baseWeightsOf } from "../tasks/llm/kind.ts";
import { routerMasses } from "../tasks/llm/router-mass.ts";
import { makeTask } from "../tasks/open/kinds.ts";
import { TaskPrograms } from "../tasks/programs.ts";
import type { Variant } from "../tasks/task.ts";
import type { Prepared } from "./prepare.ts";

export interface Equipment {
  readonly engine: EngineName;
  readonly merge?: "auto" | MergeLimit;
  /** Real minutes after which a worker that finishes no step is held to be stuck; 10 unless given. */
  readonly taskLimit?: number;
}

/** A device has one owner: on a GPU there is one worker, whatever was asked for. */
export function makePool({ training }: Prepared, workers: number, equipment: Equipment): WorkPool {
  // Without training there is nothing to do elsewhere.
  if (training === null) return new InlinePool({});
  const { taskLimit, merge = "auto" } = equipment;
  const { engine, gpu } = chooseEngine(equipment.engine);
  const chosen = { task: training.spec, engine, merge: mergeLimit(merge, gpu) };
  const workerData: WorkerData = { setup: training.setup, engine: chosen };
  const worker = new URL(`../../actors/worker${extname(import.meta.url)}`, import.meta.url);
  const limit = taskLimit === undefined ? {} : { stuckAfter: taskLimit * 60_000 };
  return new PiscinaPool({ worker, workers: gpu ? 1 : workers, workerData, kindOf: programOf, ...limit });
}

/** What a strategy's own steps are made of; null in runs without training. */
export function programsOf({ training }: Prepared, { engine }: Equipment): TaskPrograms | null {
  if (training === null) return null;
  return new TaskPrograms(makeTask(training.spec, { pads: chooseEngine(engine).engine === "onnx-webgpu" }));
}

/** How many clients of a variant share a call at most. */
export function mostTogether({ training, task }: Prepared, equipment: Equipment): (variant: Variant) => number {
  const { engine, merge = "auto" } = equipment;
  const limit = mergeLimit(merge, chooseEngine(engine).gpu);
  if (training === null || isAlone(limit)) return () => 1;
  const { batchSize: rows, length } = training.setup;
  const most = clientsPerCall(limit, task.task);
  return (variant) => most(variant, { rows, length });
}

/** Null when every client has a call of its own: then it trains as soon as its update is accepted. */
export function gatheringOf(
  { training }: Prepared,
  { engine, merge = "auto" }: Equipment,
  most: (variant: Variant) => number,
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
  if (training === null || data.rescaler.init !== "mass" || data.task.type !== "llm") return null;
  const { setup, spec } = training;
  const executor = await createExecutor(chooseEngine(engine).engine, 1);
  return routerMasses(executor, baseWeightsOf(spec), evaluationBatches(setup.data, setup.evaluation, setup));
}
