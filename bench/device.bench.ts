/**
 * Clients that share a call, against clients one by one: what does a device gain?
 *
 *   npm run bench -- device [--engine auto] [--clients 1,8,64,256] [--budgets 8,2] [--steps 4] [--memory <GB>]
 *
 * The step of `step.ts` on whichever executor is asked for. The reference of the machine is a chain of square matrix
 * products on the same executor. Sizes that the estimate of memory does not allow are left out. Recipe: README.md here.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "simple-statistics";
import { chooseEngine, createExecutor } from "../src/engine/create.ts";
import { gpuMemory } from "../src/engine/gpu.ts";
import { engineNameOf } from "../src/engine/names.ts";
import { trainingFlops } from "../src/model/accounting.ts";
import { adapterLayout } from "../src/model/adapter.ts";
import { formatTable } from "../src/report/table.ts";
import { clientBytes } from "../src/tasks/client-memory.ts";
import { llmSpec } from "../src/tasks/llm/kind.ts";
import { llmTask } from "../src/tasks/llm/task.ts";
import { createEngine } from "../src/tasks/open/create-engine.ts";
import type { TrainingEngine, TrainJob } from "../src/tasks/training-engine.ts";
import type { Executor } from "../src/tensor/executors/executor.ts";
import { Graph } from "../src/tensor/graph/graph.ts";
import { reduceSum } from "../src/tensor/ops/arithmetic.ts";
import { matmul } from "../src/tensor/ops/matrix.ts";
import { timings } from "./measure.ts";
import { benchConfig, benchJob, benchRank, randomWeights } from "./step.ts";

const tokens = 4 * 128;
const lora = { rank: benchRank, alpha: 16 };

export default async function run(options: string[]): Promise<void> {
  const { values } = parseArgs({
    args: options,
    options: {
      engine: { type: "string", default: "auto" },
      clients: { type: "string", default: "1,8,64,256" },
      budgets: { type: "string", default: "8,2" },
      steps: { type: "string", default: "4" },
      memory: { type: "string" },
    },
  });
  const { engine, gpu, reason } = chooseEngine(engineNameOf(values.engine));
  const memory = values.memory === undefined ? availableMemory(gpu) : Number(values.memory) * 1e9;
  process.stdout.write(`${engine}: ${reason}; ${(memory / 1e9).toFixed(1)} GB of memory\n`);
  const folder = mkdtempSync(join(tmpdir(), "flame-bench-"));
  try {
    const baseWeights = await randomWeights(folder);
    const executor = await createExecutor(engine, 1);
    const steps = Number(values.steps);
    const rows: string[][] = [];
    for (const topK of numbers(values.budgets)) {
      const layout = adapterLayout(benchConfig, lora);
      const task = llmTask({ config: benchConfig, lora: layout.lora, form: "factored" });
      const bytes = clientBytes(task, { topK }, { rows: 4, length: 128 });
      const gflop = (trainingFlops(benchConfig, topK, benchRank) * tokens) / 1e9;
      const single = await createEngine({ task: llmSpec(baseWeights, lora), engine });
      const job = benchJob(layout.size, topK);
      for (const clients of numbers(values.clients)) {
        if (clients * bytes > memory / 2) {
          rows.push([String(topK), String(clients), `${((clients * bytes) / 1e9).toFixed(1)} GB`, "does not fit"]);
          continue;
        }
        const jobs = Array.from({ length: clients }, (_, client) => jobOf(job, client, steps));
        const merged = await createEngine({ task: llmSpec(baseWeights, lora), engine, merge: { clients } });
        const { rate, together, alone } = await measured({ executor, gpu, merged, single, jobs });
        merged.dispose();
        const perSecond = (ms: number) => ((tokens / ms) * 1e3).toFixed(0);
        rows.push([
          String(topK),
          String(clients),
          `${((clients * bytes) / 1e9).toFixed(1)} GB`,
          perSecond(together),
          perSecond(alone),
          `${(alone / together).toFixed(2)} ×`,
          ((gflop / together) * 1e3).toFixed(0),
          rate.toFixed(0),
          `${((100 * gflop * 1e3) / together / rate).toFixed(0)} %`,
        ]);
      }
      single.dispose();
    }
    const titles = ["k", "clients", "memory", "tokens/s", "one by one", "gain", "GFLOP/s", "matmul GFLOP/s", "share"];
    process.stdout.write(`${formatTable(titles, rows)}\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const numbers = (text: string): number[] => text.split(",").map(Number);

const availableMemory = (gpu: boolean): number => (gpu ? (gpuMemory() ?? 4 * 2 ** 30) : freemem());

/** Clients differ in their adapters and in which batches they see. */
const jobOf = ({ parameters: adapter, batches, ...job }: TrainJob, client: number, steps: number): TrainJob => ({
  ...job,
  parameters: adapter.map((x) => x * (1 + client / 512)),
  batches: Array.from({ length: steps }, (_, step) => batches[(client + step) % batches.length]!),
});

interface Contest {
  readonly executor: Executor;
  readonly gpu: boolean;
  readonly merged: TrainingEngine;
  readonly single: TrainingEngine;
  readonly jobs: readonly TrainJob[];
}

/** Milliseconds per client and step, in turns, because the speed of a shared machine drifts; and GFLOP/s around them. */
async function measured({ executor, gpu, merged, single, jobs }: Contest) {
  const few = jobs.slice(0, 8);
  await merged.trainCohort(jobs);
  await single.trainCohort(few.slice(0, 1));
  const rates: number[] = [];
  const together: number[] = [];
  const alone: number[] = [];
  const steps = jobs[0]!.batches.length;
  for (let turn = 0; turn < 3; turn++) {
    rates.push(await productRate(executor, gpu ? 4_096 : 512));
    const once = { warmup: 0, repeats: 1 };
    together.push((await timings(() => merged.trainCohort(jobs), once))[0]! / jobs.length / steps);
    alone.push((await timings(() => single.trainCohort(few), once))[0]! / few.length / steps);
  }
  return { rate: median(rates), together: median(together), alone: median(alone) };
}

/** GFLOP/s of products of `[size, size]` matrices, 16 in one call, so that what goes in and out hardly counts. */
async function productRate(executor: Executor, size: number): Promise<number> {
  const graph = new Graph();
  const x = graph.input("x", "float32", [size, size]);
  const y = graph.input("y", "float32", [size, size]);
  let product = x;
  for (let i = 0; i < 16; i++) product = matmul(product, y);
  const program = { name: "products", inputs: { x, y }, outputs: { sum: reduceSum(product, [0, 1], true) } };
  const executable = await executor.compile(program, null);
  const feeds = { x: new Float32Array(size * size).fill(0.5), y: new Float32Array(size * size).fill(1 / size) };
  const ms = median(await timings(() => executable.run(feeds), { warmup: 1, repeats: 5 }));
  executable.dispose();
  return (16 * 2 * size ** 3) / ms / 1e6;
}
