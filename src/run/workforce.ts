/** Who trains: worker threads, workers elsewhere, and how clients share the calls they make. */
import { availableParallelism, totalmem } from "node:os";
import { checkResult } from "../../actors/check-result.ts";
import { gatherTraining } from "../../actors/training.ts";
import { ScenarioError } from "../base/errors.ts";
import { type ClientId, clientName } from "../base/ids.ts";
import { mappedAgain, peakMemory } from "../base/processes.ts";
import { formatBytes } from "../base/units.ts";
import { evaluationBatches } from "../data/batches.ts";
import { chooseEngine, createExecutor, mergeLimit } from "../engine/create.ts";
import { isAlone } from "../engine/merge-limit.ts";
import { type EngineName, engineNameOf } from "../engine/names.ts";
import type { RouterMasses } from "../fl/rescaler.ts";
import type { Gathering } from "../runtime/pledges.ts";
import { InlinePool } from "../runtime/pools/inline-pool.ts";
import { NatsPool, type NatsPoolOptions } from "../runtime/pools/nats.ts";
import type { NatsAddress } from "../runtime/pools/nats-address.ts";
import { connectNats, type NatsServer } from "../runtime/pools/nats-server.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import type { Scenario } from "../scenario/define.ts";
import { clientBytes, clientsPerCall, fittingStep, frozenBytes } from "../tasks/client-memory.ts";
import { hasPlainStep } from "../tasks/facts.ts";
import { baseWeightsOf } from "../tasks/llm/kind.ts";
import { routerMasses } from "../tasks/llm/router-mass.ts";
import { makeTask } from "../tasks/open/kinds.ts";
import { TaskPrograms } from "../tasks/programs.ts";
import type { Variant } from "../tasks/task.ts";
import { stepOptionsOf } from "../tasks/training-step.ts";
import type { Equipment, OpenElsewhere } from "./pools/elsewhere.ts";
import { memoryPerStep } from "./pools/memory.ts";
import { packSetup } from "./pools/setup.ts";
import { threadPool } from "./pools/threads.ts";
import type { Prepared } from "./prepare.ts";
import { needsOf } from "./provenance.ts";

/** A device has one owner: on a GPU there is one worker, whatever was asked for. */
export function makePool({ training }: Prepared, workers: number, equipment: Equipment): WorkPool {
  // Without training there is nothing to do elsewhere.
  if (training === null) return new InlinePool({});
  const { gpu, ...chosen } = chosenOf(equipment);
  const memory = memoryPerStep(training.spec, { gpu, workers });
  const workerData = { setup: training.setup, engine: { task: training.spec, ...chosen, memory } };
  return threadPool(workerData, gpu ? 1 : workers, equipment.taskLimit);
}

/** The same, and workers elsewhere beside them. With no workers here, they do everything. */
function makePoolElsewhere(
  server: NatsServer,
  prepared: Prepared,
  ...[workers, equipment, { title, mixedHardware, note }]: Parameters<OpenElsewhere>
): Promise<WorkPool> {
  const { setup, spec } = prepared.training!;
  const { gpu, ...chosen } = chosenOf(equipment);
  return NatsPool.open({
    server,
    title,
    needs: needsOf(gpu, mixedHardware),
    ...packSetup(setup, spec, chosen),
    local: workers === 0 ? null : makePool(prepared, workers, equipment),
    ...(equipment.taskLimit !== undefined && { patience: equipment.taskLimit * 60_000 }),
    check: checkResult,
    note: (text) => note("workers", text),
    onDone: ({ work, job }, by) => note("task", taskLine(work, job, by)),
  });
}

function chosenOf({ engine: asked, merge = "auto" }: Equipment) {
  const { engine, gpu } = chooseEngine(asked);
  return { engine, gpu, merge: mergeLimit(merge, gpu) };
}

/** `train c-017 in round 3 on lab-2, 812 ms`. */
function taskLine(work: string, job: unknown, { worker, took, attempt }: Parameters<OnDone>[1]): string {
  const { client, round } = job as { readonly client?: ClientId; readonly round?: number };
  const what =
    client === undefined ? work : `${work} ${clientName(client)}${round === undefined ? "" : ` in round ${round}`}`;
  return `${what} on ${worker.host}, ${Math.round(took)} ms${attempt > 1 ? `, begun ${attempt} times` : ""}`;
}

type OnDone = NonNullable<NatsPoolOptions["onDone"]>;

/** What a strategy's own steps are made of; null in runs without training. */
export function programsOf({ training }: Prepared, { engine }: Equipment, workers: number): TaskPrograms | null {
  if (training === null) return null;
  const { engine: chosen, gpu } = chooseEngine(engine);
  const memory = memoryPerStep(training.spec, { gpu, workers });
  return new TaskPrograms(makeTask(training.spec, { pads: chosen === "onnx-webgpu" }), memory);
}

/** What is said of the budgets whose plain steps take more memory than a worker has for one. */
export function tooLarge({ training, task, fleet }: Prepared, { engine }: Equipment, workers: number): string[] {
  if (training === null || !hasPlainStep(task.type)) return [];
  const { optimizer, batchSize: rows, length } = training.setup;
  const memory = memoryPerStep(training.spec, { gpu: chooseEngine(engine).gpu, workers });
  const shape = { clients: 1, rows, length };
  return [...new Set(fleet.budget)].flatMap((budget) => {
    const variant = task.task.budget.variant(budget);
    // Far from it, by formula: to build the step takes a tenth of a second, while workers wait.
    if (8 * task.task.memory(variant, rows * length) < memory) return [];
    const { tooLarge } = fittingStep(task.task, variant, shape, stepOptionsOf(optimizer), memory);
    if (tooLarge === null) return [];
    const [all, has] = [tooLarge, memory].map(formatBytes);
    return [`a step at budget ${budget} would keep ${all} and a worker has ${has} for it: layers are computed again`];
  });
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

/**
 * Refuses a run that would fill the memory and stand still: base weights, mapped once for all workers, and for each worker
 * the largest step with the matrix that it widens are needed at the least. On a GPU nobody asks: its memory is another.
 *
 * @throws ScenarioError with both figures
 */
export function requireMemory(
  { training, task, fleet }: Prepared,
  { engine = "auto", workers = availableParallelism() }: { readonly engine?: string; readonly workers?: number },
  there = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY),
): void {
  if (!training?.spec.weights || workers === 0 || chooseEngine(engineNameOf(engine)).gpu) return;
  const { batchSize: rows, length } = training.setup;
  const { mapped, widened } = frozenBytes(training.spec.weights);
  // Of a small base nothing has to be worked out.
  if (mapped < there / 8) return;
  const busy = Math.min(workers, fleet.size);
  const memory = memoryPerStep(training.spec, { gpu: false, workers: busy });
  const steps = [...new Set(fleet.budget)].map((budget) => {
    const variant = task.task.budget.variant(budget);
    if (!hasPlainStep(task.type)) return task.task.memory(variant, rows * length);
    return clientBytes(task.task, variant, { rows, length, clients: 1 }, memory);
  });
  const each = widened + Math.max(...steps);
  if (mapped + busy * each <= there) return;
  throw new ScenarioError(
    `the run needs ${formatBytes(mapped + busy * each)} of memory at the least: ${formatBytes(mapped)} of base weights and ` +
      `${formatBytes(each)} for each of ${busy} workers; there are ${formatBytes(there)}. Expected a narrower base ` +
      "(--base half, int8 or int4), fewer workers, smaller batches; --force begins all the same",
  );
}

/**
 * Most bytes of memory that this process ever had. Base weights count once, though each worker maps them; as Linux looks at
 * every page to say how often, which takes as long as many a run, it is not asked where all of them together are less than a
 * hundredth.
 */
export function peakOf({ training }: Prepared, workers: number): number {
  const [peak, weights] = [peakMemory(), training?.spec.weights];
  return weights && workers * frozenBytes(weights).mapped > peak / 100 ? peak - mappedAgain() : peak;
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

/** A pool with workers elsewhere, where they are asked for and there is work for them. */
export async function reach(
  prepared: Prepared,
  { nats }: { readonly nats?: NatsAddress },
): Promise<{ readonly elsewhere: OpenElsewhere | null; close(): Promise<void> }> {
  if (nats === undefined || prepared.training === null) return { elsewhere: null, close: async () => {} };
  const server = await connectNats(nats, "flame-sim, a run");
  return {
    elsewhere: (...order) => makePoolElsewhere(server, prepared, ...order),
    close: () => server.connection.close(),
  };
}
