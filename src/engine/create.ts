/** Chooses what trains, and says why. */
import { createRequire } from "node:module";
import { MachineError, messageOf, ScenarioError } from "../base/errors.ts";
import { machineMemory } from "../base/processes.ts";
import type { Executor } from "../tensor/executors/executor.ts";
import { OnnxExecutor } from "../tensor/executors/onnx.ts";
import { loadTensorflow, type Tensorflow } from "../tensor/executors/tensorflow-addon.ts";
import { findGpus, type Gpus, gpuMemory, providerFault } from "./gpu.ts";
import { alone, type MergeLimit } from "./merge-limit.ts";
import { type ChosenEngine, type EngineName, engineNameOf, engineNames } from "./names.ts";

export interface EngineChoice {
  readonly engine: ChosenEngine;
  /** Whether it computes on a GPU. One thread owns that, and clients share its calls. */
  readonly gpu: boolean;
  /** One sentence for people: what was found, and what speaks against the engines that come before. */
  readonly reason: string;
}

/** What a choice asks of the machine; tests have machines of their own. */
export interface Machine {
  gpus(): Gpus;
  /** @throws MachineError when it does not load */
  tensorflow(): Pick<Tensorflow, "description" | "gpu">;
  providerFault(provider: "cuda" | "webgpu"): string | null;
}

const thisMachine = (threads: number): Machine => ({
  gpus: findGpus,
  tensorflow: () => loadTensorflow(threads),
  providerFault,
});

/** Why an engine does not train on this machine, in a sentence; null when it does. */
export function engineFault(engine: ChosenEngine, machine = thisMachine(1)): string | null {
  switch (engine) {
    case "onnx":
      return missing("onnxruntime-node");
    case "onnx-cuda":
    case "onnx-webgpu": {
      const fault = missing("onnxruntime-node") ?? machine.providerFault(engine === "onnx-cuda" ? "cuda" : "webgpu");
      const remedy = engine === "onnx-cuda" ? " (npm rebuild onnxruntime-node downloads its CUDA library)" : "";
      return fault === null ? null : `ONNX Runtime does not compute there: ${fault}${remedy}`;
    }
    case "tensorflow":
      try {
        machine.tensorflow();
        return null;
      } catch (error) {
        const remedy = "npm install @tensorflow/tfjs-node-gpu, or @tensorflow/tfjs-node; both download libtensorflow";
        return `${messageOf(error)} (${remedy})`;
      }
    case "cpu":
    case "wasm":
      return missing("@tensorflow/tfjs-core", `@tensorflow/tfjs-backend-${engine}`);
  }
}

/** Tries an engine before anything is read or written. @throws ScenarioError that names it and what would help */
export function requireEngine(name: string): EngineName {
  const engine = engineNameOf(name);
  if (engine === "auto" || working.has(engine)) return engine;
  const fault = engineFault(engine);
  if (fault !== null) throw new ScenarioError(`--engine is ${engine}, which does not work here: ${fault}`);
  working.add(engine);
  return engine;
}

const working = new Set<ChosenEngine>();

/**
 * TensorFlow maps float32 alone, and WebGPU has no bfloat16.
 *
 * @throws ScenarioError where the engine does not read base weights in this form
 */
export function requireBase(form: string | undefined, engine: EngineName): void {
  if (form === undefined || form === "f32") return;
  const chosen = chooseEngine(engine).engine;
  if (chosen !== "tensorflow" && chosen !== "onnx-webgpu") return;
  throw new ScenarioError(
    `base is ${form}, but ${chosen} reads base weights in float32 alone; expected --engine onnx, or --base f32`,
  );
}

/** Which of the packages cannot be loaded. */
function missing(...names: readonly string[]): string | null {
  const { resolve } = createRequire(import.meta.url);
  const absent = names.filter((name) => {
    try {
      return resolve(name) === "";
    } catch {
      return true;
    }
  });
  return absent.length === 0 ? null : `not installed: npm install ${absent.join(" ")}`;
}

/**
 * Settles what trains. `auto` is TensorFlow if it reports a GPU, then ONNX Runtime on CUDA, then on WebGPU where there is
 * a real GPU, then on the CPU. To be called on the main thread before any worker starts, because TensorFlow has to be
 * loaded there first; the workers are then given the choice. Nothing is tried again later: an engine that fails in the
 * middle of a run ends it.
 *
 * @throws MachineError when an engine that was asked for by name does not load
 */
export function chooseEngine(engine: EngineName, threads = 1, machine?: Machine): EngineChoice {
  if (machine) return weigh(engine, machine);
  const choice = settled.get(engine) ?? weigh(engine, thisMachine(threads));
  settled.set(engine, choice);
  return choice;
}

/** A machine does not change under a run, and to ask it takes seconds where there is a GPU. */
const settled = new Map<EngineName, EngineChoice>();

function weigh(engine: EngineName, machine: Machine): EngineChoice {
  if (engine === "tensorflow") {
    const { description, gpu } = machine.tensorflow();
    return { engine, gpu, reason: `asked for; ${description}, ${gpu ? "on the GPU" : "which sees no GPU"}` };
  }
  if (engine !== "auto") return { engine, gpu: engine.startsWith("onnx-"), reason: `engine ${engine}, as asked for` };
  const { vendors, nvidia } = machine.gpus();
  if (vendors.length === 0) return { engine: "onnx", gpu: false, reason: "ONNX Runtime on the CPU: there is no GPU" };
  const against: string[] = [];
  if (nvidia) {
    const found = reportedGpu(machine);
    if (found.gpu) return { engine: "tensorflow", gpu: true, reason: `TensorFlow on the GPU: ${found.what}` };
    against.push(found.what);
  }
  for (const [provider, possible] of [
    ["cuda", nvidia],
    ["webgpu", true],
  ] as const) {
    const fault = possible ? machine.providerFault(provider) : "not an NVIDIA GPU";
    if (fault === null) {
      const reason = reasonFor(`ONNX Runtime on ${vendors.join(", ")}`, against);
      return { engine: `onnx-${provider}`, gpu: true, reason };
    }
    against.push(`ONNX Runtime on ${provider}: ${fault}`);
  }
  return { engine: "onnx", gpu: false, reason: reasonFor("ONNX Runtime on the CPU", against) };
}

const reasonFor = (what: string, against: readonly string[]): string => [what, ...against].join("; ");

function reportedGpu(machine: Machine): { gpu: boolean; what: string } {
  try {
    const { description, gpu } = machine.tensorflow();
    return { gpu, what: gpu ? description : `${description} sees no GPU` };
  } catch (error) {
    return { gpu: false, what: messageOf(error) };
  }
}

/**
 * Settles how many clients share a call. `auto` is one on a CPU, which many small calls keep as busy as few large ones,
 * and on a GPU as many as half of its memory holds: what a program keeps alive is known, and executors add to it what they
 * copy and what their arenas keep.
 *
 * @param memory bytes of the device, where its driver says
 */
export function mergeLimit(
  asked: "auto" | MergeLimit,
  gpu: boolean,
  memory: () => number | null = gpuMemory,
): MergeLimit {
  if (asked !== "auto") return asked;
  return gpu ? { bytes: Math.floor((memory() ?? unknownMemory) / 2) } : alone;
}

/**
 * Bytes that a training step may take before it computes layers again: a quarter of what base weights leave of the
 * device's memory, shared by its workers. Each of them has programs for several budgets, and executors keep what they had.
 *
 * @param weights bytes of the base weights, which all workers share
 */
export function stepMemory(gpu: boolean, weights: number, workers: number): number {
  const memory = gpu ? (gpuMemory() ?? unknownMemory) : machineMemory();
  return Math.max(0, memory - weights) / (4 * workers);
}

/** What is taken for a GPU's memory where no driver tells: laptops have as much. */
const unknownMemory = 4 * 2 ** 30;

export async function createExecutor(engine: ChosenEngine, threads: number): Promise<Executor> {
  switch (engine) {
    case "onnx":
      return new OnnxExecutor({ threads });
    case "onnx-webgpu":
      return new OnnxExecutor({ provider: "webgpu" });
    case "onnx-cuda":
      return new OnnxExecutor({ provider: "cuda" });
    case "tensorflow":
      return new (await import("../tensor/executors/tensorflow.ts")).TensorflowExecutor({ threads });
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
