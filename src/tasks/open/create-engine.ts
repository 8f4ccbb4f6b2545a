/** A task's engine on whichever executor is asked for. */
import { chooseEngine, createExecutor } from "../../engine/create.ts";
import { alone, isAlone, type MergeLimit } from "../../engine/merge-limit.ts";
import type { EngineName } from "../../engine/names.ts";
import { clientsPerCall } from "../client-memory.ts";
import type { TaskSpec } from "../kind.ts";
import { TaskEngine } from "../task-engine.ts";
import { makeTask } from "./kinds.ts";

export interface EngineOptions {
  readonly task: TaskSpec;
  readonly engine?: EngineName;
  /** Intra-op threads; one per worker is fastest. */
  readonly threads?: number;
  /** Called after every step of training and every batch of an evaluation. */
  readonly onStep?: () => void;
  /** How many clients of one shape share a call; one by one unless given. */
  readonly merge?: MergeLimit;
  /** Bytes that a step may take before it computes layers again; any number unless given. */
  readonly memory?: number;
}

export async function createEngine({
  task,
  engine = "auto",
  threads = 1,
  merge = alone,
  memory,
  onStep = () => {},
}: EngineOptions): Promise<TaskEngine> {
  const chosen = engine === "auto" ? chooseEngine(engine, threads).engine : engine;
  const executor = await createExecutor(chosen, threads);
  return new TaskEngine(executor, makeTask(task, executor), task.weights, {
    onStep,
    memory,
    ...(!isAlone(merge) && { most: clientsPerCall(merge, makeTask(task)) }),
  });
}
