/** What benchmarks share: timings, and the machine's own matrix-multiply rate. */

import { Piscina } from "piscina";
import { median } from "simple-statistics";
import { loadOrt } from "../src/tensor/executors/onnx.ts";
import { elementTypes, encodeModel } from "../src/tensor/executors/onnx-proto.ts";
import type { StepTask } from "./step-worker.ts";

/** Milliseconds of each of `repeats` calls, after `warmup` calls that do not count. */
export async function timings(call: () => unknown, { warmup = 3, repeats = 15 } = {}): Promise<number[]> {
  for (let i = 0; i < warmup; i++) await call();
  const times: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
  }
  return times;
}

/** GFLOP/s of one `[1024, 512] · [512, 512]` product in ONNX Runtime on one thread: what this machine can do. */
export async function matmulRate(): Promise<number> {
  const ort = loadOrt();
  const [m, k, n] = [1024, 512, 512];
  const value = (name: string, dims: number[]) => ({ name, elementType: elementTypes.float32, dims });
  const model = encodeModel({
    name: "matmul",
    nodes: [{ name: "matmul", opType: "MatMul", domain: "", input: ["a", "b"], output: ["c"], attribute: [] }],
    initializers: [],
    inputs: [value("a", [m, k]), value("b", [k, n])],
    outputs: [value("c", [m, n])],
  });
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, interOpNumThreads: 1 });
  const tensor = (rows: number, columns: number) =>
    new ort.Tensor("float32", new Float32Array(rows * columns).fill(0.5), [rows, columns]);
  const feeds = { a: tensor(m, k), b: tensor(k, n) };
  const into = { c: tensor(m, n) };
  const ms = median(await timings(() => session.run(feeds, into), { repeats: 31 }));
  await session.release();
  return (2 * m * k * n) / ms / 1e6;
}

/** A pool of `workers` threads that run `step-worker.ts`. */
export const stepPool = (workers: number): Piscina<StepTask, number> =>
  new Piscina({
    filename: new URL("./step-worker.ts", import.meta.url).href,
    execArgv: ["--import", import.meta.resolve("tsx")],
    minThreads: workers,
    maxThreads: workers,
    idleTimeout: Number.POSITIVE_INFINITY,
  });

/** Runs `task` on every worker of the pool at once. */
export const everywhere = (pool: Piscina<StepTask, number>, task: StepTask): Promise<number[]> =>
  Promise.all(Array.from({ length: pool.options.maxThreads }, () => pool.run(task)));
