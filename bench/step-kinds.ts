/** What nodes of a training step take, by ONNX Runtime's own profile, on the step of `step.ts`. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { formatTable } from "../src/report/table.ts";
import { OnnxExecutor } from "../src/tensor/executors/onnx.ts";
import { benchEngine, benchJob, benchRank, randomWeights } from "./step.ts";

interface Event {
  readonly cat: string;
  readonly name: string;
  /** Microseconds. */
  readonly dur: number;
  readonly args: { readonly op_name?: string; readonly input_type_shape?: readonly Record<string, number[]>[] };
}

const kinds = [
  "large products",
  "thin products",
  "softmax, norms",
  "gather, scatter",
  "copies",
  "elementwise",
  "between nodes",
] as const;

/** Milliseconds of a step of each kind at each budget, as a table. */
export async function stepKinds(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "flame-kinds-"));
  try {
    const weights = await randomWeights(folder);
    const columns: Map<string, number>[] = [];
    const budgets = [8, 4, 2, 1];
    for (const topK of budgets) {
      const prefix = `k${topK}-`;
      const executor = new OnnxExecutor({ profilePrefix: join(folder, prefix) });
      const engine = benchEngine(weights, undefined, executor);
      const job = benchJob(engine.task.layout.size, topK);
      await engine.trainCohort([job]);
      engine.dispose();
      // The profile is written as the session goes, which is a little later.
      await setTimeout(0);
      const file = readdirSync(folder).find((name) => name.startsWith(prefix))!;
      columns.push(timesIn(join(folder, file), job.batches.length));
    }
    const rows = ["nodes", ...kinds, "step"].map((kind) => [
      kind,
      ...columns.map((times) => (times.get(kind) ?? 0).toFixed(kind === "nodes" ? 0 : 1)),
    ]);
    return `${formatTable(["ms of a step", ...budgets.map((k) => `k = ${k}`)], rows, 1)}\n`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function timesIn(file: string, steps: number): Map<string, number> {
  const events = JSON.parse(readFileSync(file, "utf8")) as Event[];
  const times = new Map<string, number>();
  const add = (kind: string, amount: number) => times.set(kind, (times.get(kind) ?? 0) + amount / steps);
  for (const { cat, name, dur, args } of events) {
    if (name === "model_run") {
      add("step", dur / 1_000);
      add("between nodes", dur / 1_000);
    } else if (cat === "Node" && name.endsWith("_kernel_time")) {
      add("nodes", 1);
      add(kindOf(args), dur / 1_000);
      add("between nodes", -dur / 1_000);
    }
  }
  return times;
}

function kindOf({ op_name: op = "", input_type_shape: shapes = [] }: Event["args"]): (typeof kinds)[number] {
  if (/MatMul|Gemm/.test(op)) {
    const sides = shapes.slice(0, 2).flatMap((shape) => Object.values(shape)[0]!.slice(-2));
    return Math.min(...sides) <= 2 * benchRank ? "thin products" : "large products";
  }
  if (/Softmax|Normalization|Reduce/.test(op)) return "softmax, norms";
  if (/Gather|Scatter|TopK|NonZero|OneHot|CumSum/.test(op)) return "gather, scatter";
  return /^(Concat|Split|Transpose|Reshape|Cast|Expand|Slice|Identity|Squeeze|Unsqueeze|Pad)$/.test(op)
    ? "copies"
    : "elementwise";
}
