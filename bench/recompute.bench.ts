/**
 * What does it save, and what does it cost, to compute layers again for the backward pass?
 *
 *   npm run bench -- recompute [--layers 6] [--width 256] [--rows 4] [--length 128]
 *
 * Training steps at k = 8 of a model with 16 experts and random weights. Times are CPU times of steps that take turns in one
 * process; memory is the most that a process of its own ever had resident, its base weights included (Linux only).
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "simple-statistics";
import { formatBytes } from "../src/base/units.ts";
import type { BaseWeights } from "../src/model/base-weights.ts";
import { loadCheckpoint } from "../src/model/formats/checkpoint.ts";
import { prepareBaseWeights } from "../src/model/formats/prepare-weights.ts";
import { formatTable } from "../src/report/table.ts";
import { fittingStep, stepBytes } from "../src/tasks/client-memory.ts";
import { llmTask } from "../src/tasks/llm/task.ts";
import { TaskEngine } from "../src/tasks/task-engine.ts";
import { stepOptionsOf } from "../src/tasks/training-step.ts";
import { OnnxExecutor } from "../src/tensor/executors/onnx.ts";
import { benchConfig, benchJob, benchRank, randomWeights } from "./step.ts";

const ways = [
  { name: "kept", memory: Number.POSITIVE_INFINITY },
  { name: "computed again", memory: 0 },
];

export default async function run(options: string[]): Promise<void> {
  const number = (value: string) => ({ type: "string", default: value }) as const;
  const { values } = parseArgs({
    args: options,
    options: {
      layers: number("6"),
      width: number("256"),
      rows: number("4"),
      length: number("128"),
      alone: number(""),
      memory: number(""),
    },
  });
  const [rows, length] = [Number(values.rows), Number(values.length)];
  if (values.alone !== "") return alone(values.alone, { rows, length, memory: Number(values.memory) });
  const folder = mkdtempSync(join(tmpdir(), "flame-bench-"));
  try {
    const width = Number(values.width);
    const weights = await randomWeights(folder, {
      ...benchConfig,
      layers: Number(values.layers),
      width,
      expertWidth: width,
    });
    const steps = ways.map(({ memory }) => stepOf(weights, { rows, length, memory }));
    const times = ways.map((): number[] => []);
    for (let turn = 0; turn < 8; turn++) {
      for (const [at, { take }] of steps.entries()) {
        const begun = process.cpuUsage();
        await take();
        const { user, system } = process.cpuUsage(begun);
        if (turn > 0) times[at]!.push((user + system) / 1_000);
      }
    }
    const ratio = median(times[1]!.map((time, turn) => time / times[0]![turn]!));
    const table = ways.map(({ name, memory }, at) => [
      name,
      formatBytes(steps[at]!.bytes),
      formatBytes(residentOf([...options, "--alone", folder, "--memory", String(memory)])),
      `${median(times[at]!).toFixed(0)} ms`,
    ]);
    process.stdout.write(
      `${formatTable(["layers are", "a step keeps", "resident at most", "CPU time of a step"], table)}\n\n`,
    );
    process.stdout.write(
      `computed again ÷ kept: ${ratio.toFixed(2)} of the time, median of ${times[0]!.length} pairs\n`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface How {
  readonly rows: number;
  readonly length: number;
  /** Bytes that a step may take before it computes layers again. */
  readonly memory: number;
}

function stepOf(weights: BaseWeights, { rows, length, memory }: How) {
  const task = llmTask({ config: weights.config, lora: { rank: benchRank, alpha: 16 }, form: "factored" });
  const engine = new TaskEngine(new OnnxExecutor(), task, weights, { memory });
  const job = benchJob(task.layout.size, 8, { rows, length, layers: weights.config.layers });
  const shape = { clients: 1, rows, length };
  const { program } = fittingStep(task, job.variant, shape, stepOptionsOf(job.optimizer), memory);
  return {
    bytes: stepBytes(program, task, job.variant, shape),
    take: () => engine.trainCohort([{ ...job, batches: job.batches.slice(0, 1) }]),
  };
}

/** Three steps in a process of their own. */
function residentOf(options: readonly string[]): number {
  const main = fileURLToPath(new URL("./main.ts", import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", main, "recompute", ...options], {
    encoding: "utf8",
  });
  const kilobytes = Number(/(\d+) kB/.exec(stdout)?.[1]);
  if (Number.isNaN(kilobytes)) throw new Error(`the step's process printed nothing: ${stderr}`);
  return kilobytes * 1_024;
}

async function alone(folder: string, how: How): Promise<void> {
  const weights = await prepareBaseWeights(loadCheckpoint(`${folder}/model`), folder);
  const { take } = stepOf(weights, how);
  for (let step = 0; step < 3; step++) await take();
  process.stdout.write(`${/VmHWM:\s+\d+ kB/.exec(readFileSync("/proc/self/status", "utf8"))}\n`);
}
