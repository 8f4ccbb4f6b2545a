/**
 * Runs programs on ONNX Runtime (onnxruntime-node), one session per program.
 *
 * Base weights are external data in one file that every session of every worker maps, and prepacking is off, so that
 * the pages are in memory once, in the form they are stored in. `run()` blocks its thread: parallelism is one worker per
 * core with one intra-op thread.
 */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import type { InferenceSession, OnnxValue, Tensor as OrtTensor } from "onnxruntime-node";
import { InvariantError, MachineError, messageOf } from "../../base/errors.ts";
import type { Program, TensorType } from "../graph/ir.ts";
import { type Executable, type Executor, sizesOf, type TensorData, type WeightSource } from "./executor.ts";
import { free, makeRoomFor } from "./memory.ts";
import { keptShape, OnnxEmitter, outputName } from "./onnx-emitter.ts";
import { encodeModel, type GraphProto } from "./onnx-proto.ts";
import { allName, firstName, gainsByCompany, isUneven, paddedName, rowsName, stepsGraph } from "./onnx-steps.ts";

type Ort = typeof import("onnxruntime-node");

// Since 1.30 the library keeps a device ID and a database of events in the user's cache, and sends them to Microsoft. It
// reads the process's environment, which only the main thread can change: hence here and not where it is loaded.
process.env.ORT_DISABLE_TELEMETRY ??= "1";

let runtime: Ort | undefined;

/** Loads the native library on first use, so that commands that never train do not pay for it. */
export function loadOrt(): Ort {
  try {
    // The package is CommonJS with a native addon; `require` works in workers under every loader.
    runtime ??= createRequire(import.meta.url)("onnxruntime-node") as Ort;
    return runtime;
  } catch (cause) {
    throw new MachineError(`ONNX Runtime did not load: ${messageOf(cause)}`, { cause });
  }
}

export interface OnnxOptions {
  readonly provider?: "cpu" | "webgpu" | "cuda";
  /** Intra-op threads of each session. */
  readonly threads?: number;
  /** Writes ONNX Runtime's profile of each session to files with this prefix. */
  readonly profilePrefix?: string;
}

/**
 * On WebGPU every part of a cut is a buffer of its shader, of which some devices have eight, the input included; products
 * over no rows fail; and SimplifiedLayerNormalization leaves its second output unwritten (1.30).
 */
const webgpuLimits = { parts: 7, whole: true, plainNorms: true, shapes: true } as const;

const limits = { cpu: {}, webgpu: webgpuLimits, cuda: { shapes: true } } as const;

/** Folding would widen every weight when the session is made, and merging would keep what is widened for the next use. */
const undoingWidening = ["CommonSubexpressionElimination", "ConstantFolding"];

/**
 * What gains nothing on the CPU: the emitter writes nothing twice, all that folds are a few vectors of zeros, no Transpose is
 * saved, and two Reshapes in a row take a microsecond. Each reads all nodes, and what it finds has all shapes inferred anew.
 */
const superfluous = [...undoingWidening, "ReshapeFusion", "TransposeOptimizer"];

/** What there is for graphs of quantised operators. */
const forQuantised = [
  "DoubleQDQPairsRemover",
  "EnsureUniqueDQForNodeUnit",
  "QDQPropagationTransformer",
  "WeightBiasQuantization",
  "WhereDummyDq",
];

export class OnnxExecutor implements Executor {
  readonly name: string;
  readonly pads: boolean;
  readonly #options: OnnxOptions;

  constructor(options: OnnxOptions = {}) {
    this.#options = options;
    this.name = `onnx-${options.provider ?? "cpu"}`;
    this.pads = options.provider === "webgpu";
  }

  async compile(program: Program, weights: WeightSource | null): Promise<Executable> {
    const ort = loadOrt();
    const { provider = "cpu", threads = 1, profilePrefix } = this.#options;
    const emitter = new OnnxEmitter(weights, limits[provider]);
    const graph = emitter.emit(program);
    const needless = emitter.widens ? superfluous : [...superfluous, ...forQuantised];
    const disabled = provider === "cpu" ? needless : emitter.widens ? undoingWidening : [];
    const session: Record<string, string> = { disable_prepacking: "1" };
    if (weights) session.model_external_initializers_file_folder_path = dirname(weights.path);
    const options: InferenceSession.SessionOptions = {
      executionProviders: [provider],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      // Higher levels take seconds on graphs of thousands of nodes and gain nothing here.
      graphOptimizationLevel: "basic",
      executionMode: "sequential",
      // A plan of memory is kept for every set of run-time sizes, and experts receive other rows each step: plans gained
      // no time, and eight merged clients took 1.7 GB instead of 0.95.
      enableMemPattern: false,
      // An arena would keep the widest matrix that a session ever widened, and a worker has a session for each program: two layers
      // of OLMoE-1B-7B in int4 take 2.3 GB on two workers, and not 4.0, in the same time.
      enableCpuMemArena: !emitter.widens,
      logSeverityLevel: 3,
      extra: { session, optimization: { disable_specified_optimizers: disabled.join(";") } },
      ...(profilePrefix !== undefined && { enableProfiling: true, profileFilePrefix: profilePrefix }),
    };
    const open = (model: GraphProto) =>
      ort.InferenceSession.create(encodeModel(model), options).catch((cause) => {
        const what = `${this.name}: session for "${program.name}" could not be created: ${messageOf(cause)}`;
        throw new MachineError(what, { cause });
      });
    const fixed = emitter.hides ? { [keptShape.name]: new ort.Tensor("int64", keptShape.values, [2]) } : {};
    if (provider === "cpu" && gainsByCompany(program, graph)) {
      return new OnnxSteps(ort, program, fixed, graph, open);
    }
    return new OnnxExecutable(ort, await open(graph), program, fixed);
  }
}

/** A program of which many runs are a call. */
class OnnxSteps implements Executable {
  readonly #ort: Ort;
  readonly #program: Program;
  readonly #kept: Readonly<Record<string, OrtTensor>>;
  readonly #graph: GraphProto;
  readonly #open: (model: GraphProto) => Promise<InferenceSession>;
  /** By what all runs are fed the same. */
  readonly #sessions = new Map<string, Promise<InferenceSession>>();
  #single: Promise<OnnxExecutable> | null = null;
  #isDisposed = false;

  constructor(
    ort: Ort,
    program: Program,
    kept: Readonly<Record<string, OrtTensor>>,
    graph: GraphProto,
    open: (model: GraphProto) => Promise<InferenceSession>,
  ) {
    this.#ort = ort;
    this.#program = program;
    this.#kept = kept;
    this.#graph = graph;
    this.#open = open;
  }

  async run(...call: Parameters<Executable["run"]>): Promise<Record<string, TensorData>> {
    this.#refuseIfDisposed();
    this.#single ??= this.#makeSingle();
    return (await this.#single).run(...call);
  }

  async runAll(
    state: Readonly<Record<string, Float32Array>>,
    fixed: Readonly<Record<string, TensorData>>,
    steps: readonly Readonly<Record<string, TensorData>>[],
  ): Promise<{ state: Record<string, Float32Array>; outputs: Record<string, TensorData>[] }> {
    const [program, many] = [this.#program, steps.length];
    const session = await this.#sessionWith(Object.keys(fixed));
    const inputs: Record<string, OrtTensor> = { ...this.#kept };
    for (const [key, input] of Object.entries(program.inputs)) {
      const name = input.node.attributes.name as string;
      const same = state[key] ?? fixed[key];
      if (same !== undefined) {
        const sizes = sizesOf(program, key, input, same);
        inputs[key in state ? firstName(name) : name] = tensor(this.#ort, input, same, sizes);
        continue;
      }
      const sizes = steps.map((step) => sizesOf(program, key, input, step[key]));
      const widest = sizes.reduce((a, b) => (b[0]! > a[0]! ? b : a));
      const all = tensor(this.#ort, input, joined(steps.map((step) => step[key]!)), [many, ...widest]);
      if (isUneven(input.shape)) {
        const rows = BigInt64Array.from(sizes, ([own]) => BigInt(own!));
        inputs[allName(paddedName(name))] = all;
        inputs[allName(rowsName(name))] = new this.#ort.Tensor("int64", rows, [many, 1]);
      } else inputs[allName(name)] = all;
    }
    const results = await session.run(inputs).catch((cause: unknown) => {
      this.#refuseIfDisposed();
      throw new MachineError(`program "${program.name}" failed: ${messageOf(cause)}`, { cause });
    });
    const last: Record<string, Float32Array> = {};
    const outputs = steps.map((): Record<string, TensorData> => ({}));
    for (const key of Object.keys(program.outputs)) {
      const data = (results[allName(outputName(key))] as OrtTensor).data as TensorData;
      const size = data.length / many;
      if (key in state) last[key] = data as Float32Array;
      else for (const [at, own] of outputs.entries()) own[key] = data.subarray(at * size, (at + 1) * size);
    }
    return { state: last, outputs };
  }

  dispose(): void {
    this.#isDisposed = true;
    for (const opening of this.#sessions.values()) opening.then((session) => void session.release(), nothing);
    this.#single?.then((single) => single.dispose(), nothing);
  }

  #makeSingle(): Promise<OnnxExecutable> {
    const made = this.#open(this.#graph).then(
      (session) => new OnnxExecutable(this.#ort, session, this.#program, this.#kept),
    );
    // As below.
    made.catch(() => {
      this.#single = null;
    });
    return made;
  }

  #sessionWith(fixed: readonly string[]): Promise<InferenceSession> {
    this.#refuseIfDisposed();
    const key = fixed.join();
    let session = this.#sessions.get(key);
    if (session === undefined) {
      const names = fixed.map((name) => this.#program.inputs[name]!.node.attributes.name as string);
      session = this.#open(stepsGraph(this.#program, this.#graph, new Set([...names, ...Object.keys(this.#kept)])));
      this.#sessions.set(key, session);
      // What failed is tried again when it is asked for again.
      session.catch(() => this.#sessions.delete(key));
    }
    return session;
  }

  #refuseIfDisposed(): void {
    if (this.#isDisposed) throw new InvariantError(`program "${this.#program.name}" was disposed`);
  }
}

const nothing = () => {};

/** Wraps an array without a copy. */
const tensor = (ort: Ort, { dtype }: TensorType, data: TensorData, sizes: readonly number[]): OrtTensor =>
  new ort.Tensor(dtype as "float32", data as Float32Array, sizes);

/** Arrays of one type, one after the other, each followed by zeros until it is as long as the longest. */
function joined(parts: readonly TensorData[]): TensorData {
  const [first] = parts as readonly [TensorData];
  if (parts.length === 1) return first;
  const most = parts.reduce((most, { length }) => Math.max(most, length), 0);
  const all = new (first.constructor as Float32ArrayConstructor)(parts.length * most);
  for (const [at, part] of parts.entries()) all.set(part as Float32Array, at * most);
  return all;
}

class OnnxExecutable implements Executable {
  readonly #ort: Ort;
  #session: InferenceSession | null;
  readonly #program: Program;
  readonly #fixed: Readonly<Record<string, OrtTensor>>;

  /** @param fixed inputs that are the same in every run */
  constructor(ort: Ort, session: InferenceSession, program: Program, fixed: Readonly<Record<string, OrtTensor>>) {
    this.#ort = ort;
    this.#session = session;
    this.#program = program;
    this.#fixed = fixed;
  }

  async run(
    feeds: Readonly<Record<string, TensorData>>,
    into: Readonly<Record<string, Float32Array>> = {},
  ): Promise<Record<string, TensorData>> {
    const [session, program] = [this.#session, this.#program];
    if (!session) throw new InvariantError(`program "${program.name}" was disposed`);
    const inputs: Record<string, OrtTensor> = { ...this.#fixed };
    for (const [key, input] of Object.entries(program.inputs)) {
      inputs[input.node.attributes.name as string] = this.#tensor(key, feeds[key], input);
    }
    makeRoomFor(Object.values(feeds).reduce((sum, { byteLength }) => sum + byteLength, 0));
    const fetches: Record<string, OnnxValue | null> = {};
    for (const [key, output] of Object.entries(program.outputs)) {
      const target = into[key];
      fetches[outputName(key)] = target ? this.#tensor(key, target, output) : null;
    }
    const results = await session.run(inputs, fetches).catch((cause: unknown) => {
      if (!this.#session) throw new InvariantError(`program "${program.name}" was disposed`);
      throw new MachineError(`program "${program.name}" failed: ${messageOf(cause)}`, { cause });
    });
    const outputs: Record<string, TensorData> = {};
    for (const key of Object.keys(program.outputs)) {
      const data = (results[outputName(key)] as OrtTensor).data as TensorData;
      const target = into[key];
      outputs[key] = target ?? data;
      // The binding (1.30) copies every output, one that lies where it should as well.
      if (target && data.buffer !== target.buffer) free(data.buffer);
    }
    return outputs;
  }

  dispose(): void {
    void this.#session?.release();
    this.#session = null;
  }

  #tensor(key: string, data: TensorData | undefined, type: TensorType): OrtTensor {
    return tensor(this.#ort, type, data!, sizesOf(this.#program, key, type, data));
  }
}
