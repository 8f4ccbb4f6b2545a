/** Chooses what trains, and says why. */
import { MachineError, ScenarioError } from "../base/errors.ts";
import type { LoraConfig } from "../model/adapter.ts";
import type { BaseWeights } from "../model/base-weights.ts";
import type { Executor } from "../tensor/executors/executor.ts";
import { OnnxExecutor } from "../tensor/executors/onnx.ts";
import { ProgramEngine } from "./program-engine.ts";

export const engineNames = ["auto", "onnx", "onnx-webgpu", "onnx-cuda", "cpu", "wasm"] as const;
export type EngineName = (typeof engineNames)[number];

export const isEngineName = (name: string): name is EngineName => (engineNames as readonly string[]).includes(name);

export interface EngineOptions {
  readonly baseWeights: BaseWeights;
  readonly lora: LoraConfig;
  readonly engine?: EngineName;
  /** Intra-op threads; one per worker is fastest. */
  readonly threads?: number;
}

export async function createEngine({
  baseWeights,
  lora,
  engine = "auto",
  threads = 1,
}: EngineOptions): Promise<ProgramEngine> {
  return new ProgramEngine(await createExecutor(engine, threads), baseWeights, lora);
}

async function createExecutor(engine: EngineName, threads: number): Promise<Executor> {
  switch (engine) {
    case "auto":
    case "onnx":
      return new OnnxExecutor({ threads });
    case "onnx-webgpu":
      return new OnnxExecutor({ provider: "webgpu" });
    case "onnx-cuda":
      return new OnnxExecutor({ provider: "cuda" });
    case "cpu":
    case "wasm":
      return eagerExecutor(engine);
    default:
      throw new ScenarioError(`engine: expected one of ${engineNames.join(", ")}, got ${JSON.stringify(engine)}`);
  }
}

/** TensorFlow.js is not a dependency of the package: it serves comparisons, and machines without a native executor. */
async function eagerExecutor(backend: "cpu" | "wasm"): Promise<Executor> {
  try {
    const tf = await import("@tensorflow/tfjs-core");
    await (backend === "cpu" ? import("@tensorflow/tfjs-backend-cpu") : import("@tensorflow/tfjs-backend-wasm"));
    await tf.setBackend(backend);
    const { EagerExecutor } = await import("../tensor/executors/eager.ts");
    return new EagerExecutor(tf);
  } catch (cause) {
    throw new MachineError(
      `engine ${backend} needs TensorFlow.js: npm install @tensorflow/tfjs-core @tensorflow/tfjs-backend-${backend}`,
      { cause },
    );
  }
}
