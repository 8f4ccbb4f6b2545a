/**
 * The local training step, as fast as the machine's matrix products allow?
 *
 *   npm run bench -- engine [--form merged|factored] [--peer <python with torch, transformers, peft>]
 *
 * Configuration of `bench/peers`: 4 layers, width 128, 16 experts of width 64, vocabulary 512, rank 8, 4 × 128 tokens, one
 * thread. Model FLOP count matrix products alone, forward and backward, LoRA in its factored form.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { median } from "simple-statistics";
import { trainingFlops } from "../src/model/accounting.ts";
import type { LoraForm } from "../src/model/adapted-experts.ts";
import { formatTable } from "../src/report/table.ts";
import { everywhere, matmulRate, stepPool, timings } from "./measure.ts";
import { benchConfig, benchEngine, benchJob, benchRank, randomWeights } from "./step.ts";

const budgets = [8, 4, 2, 1];

export default async function run(options: string[]): Promise<void> {
  const { values } = parseArgs({
    args: options,
    options: {
      form: { type: "string" },
      peer: { type: "string" },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "flame-bench-"));
  try {
    const weights = await randomWeights(folder);
    const rows: string[][] = [];
    for (const topK of budgets) {
      const engine = benchEngine(weights, formNamed(values.form));
      const job = benchJob(engine.task.layout.size, topK);
      const building = performance.now();
      await engine.trainCohort([{ ...job, batches: job.batches.slice(0, 1) }]);
      const built = performance.now() - building;
      // The reference is measured around the steps, because the speed of a shared machine drifts.
      const before = await matmulRate();
      const cohort = await timings(() => engine.trainCohort([job]), { warmup: 1, repeats: 7 });
      const rate = (before + (await matmulRate())) / 2;
      const ms = median(cohort) / job.batches.length;
      const tokens = 4 * 128;
      const gflop = (trainingFlops(benchConfig, topK, benchRank) * tokens) / 1e9;
      rows.push([
        String(topK),
        ms.toFixed(1),
        gflop.toFixed(2),
        ((gflop / ms) * 1e3).toFixed(1),
        rate.toFixed(1),
        `${((100 * gflop * 1e3) / ms / rate).toFixed(0)} %`,
        ((tokens / ms) * 1e3).toFixed(0),
        built.toFixed(0),
        ...peerColumns(values.peer, topK, ms),
      ]);
      engine.dispose();
    }
    const columns = ["k", "ms/step", "GFLOP/step", "GFLOP/s", "matmul GFLOP/s", "share", "tokens/s", "build ms"];
    if (values.peer !== undefined) columns.push("hf_peft ms", "speed-up");
    process.stdout.write(`${formatTable(columns, rows)}\n`);
    const one = await workersRate(folder, 1);
    const two = await workersRate(folder, 2);
    process.stdout.write(
      `\ntwo workers: ${(two / one).toFixed(2)} times the steps of one (${one.toFixed(1)} and ${two.toFixed(1)} steps/s at k = 8)\n`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function formNamed(name: string | undefined): LoraForm | undefined {
  if (name === undefined || name === "merged" || name === "factored") return name;
  throw new Error(`--form is ${JSON.stringify(name)}, expected merged or factored`);
}

/** The same step in transformers + PEFT, right after ours. */
function peerColumns(python: string | undefined, topK: number, ms: number): string[] {
  if (python === undefined) return [];
  const { stdout, stderr } = spawnSync(python, [join(import.meta.dirname, "peers", "hf_peft.py"), String(topK)], {
    encoding: "utf8",
    env: { ...process.env, TH: "1", OMP_NUM_THREADS: "1" },
  });
  const match = /ms\/step ([\d.]+)/.exec(stdout);
  if (!match) throw new Error(`hf_peft.py ${topK} printed no figure: ${stderr}`);
  const peer = Number(match[1]);
  return [peer.toFixed(1), `${(peer / ms).toFixed(2)} ×`];
}

/** Steps per second of `count` workers together, each with an engine of its own over the same weights. */
async function workersRate(folder: string, count: number): Promise<number> {
  const pool = stepPool(count);
  const task = { folder, steps: 20 };
  await everywhere(pool, { ...task, steps: 2 });
  const runs: number[] = [];
  for (let i = 0; i < 5; i++) runs.push((await everywhere(pool, task)).reduce((rate, ms) => rate + 1_000 / ms, 0));
  await pool.close();
  return median(runs);
}
