/**
 * Runs programs on TensorFlow, each as a SavedModel with a session of its own. This is the way to NVIDIA GPUs that
 * TensorFlow.js offers; on a CPU it computes the same.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { inScratch } from "../../base/disk.ts";
import { InvariantError, invariant, MachineError, messageOf } from "../../base/errors.ts";
import type { Program } from "../graph/ir.ts";
import {
  type Executable,
  type Executor,
  type ResidentState,
  sizesOf,
  type TensorData,
  type WeightSource,
} from "./executor.ts";
import { loadTensorflow, type Tensorflow, type TensorflowAddon } from "./tensorflow-addon.ts";
import { TensorflowEmitter, type TensorflowModel } from "./tensorflow-emitter.ts";

export interface TensorflowOptions {
  /** Threads within one op, of all sessions of the process together; what the first executor says holds. */
  readonly threads?: number;
}

export class TensorflowExecutor implements Executor {
  readonly name: string;
  readonly #tensorflow: Tensorflow;

  /** @throws MachineError when no addon loads */
  constructor({ threads = 1 }: TensorflowOptions = {}) {
    this.#tensorflow = loadTensorflow(threads);
    this.name = this.#tensorflow.gpu ? "tensorflow-gpu" : "tensorflow-cpu";
  }

  async compile(program: Program, weights: WeightSource | null): Promise<Executable> {
    const model = new TensorflowEmitter(program, weights).emit();
    const { addon } = this.#tensorflow;
    return inScratch("savedmodel", (folder) => {
      try {
        writeFileSync(join(folder, "saved_model.pb"), model.bytes);
        return new TensorflowExecutable(addon, addon.loadSavedModel(folder, "serve"), program, model);
      } catch (cause) {
        throw new MachineError(`${this.name}: "${program.name}" could not be loaded: ${messageOf(cause)}`, { cause });
      }
    });
  }
}

type Feeds = Readonly<Record<string, TensorData>>;
type Targets = Readonly<Record<string, Float32Array>>;

/** A node and the array it stands for in one session run. */
interface Fed {
  readonly node: string;
  readonly sizes: readonly number[];
  readonly values: Float32Array | Int32Array;
}

class TensorflowExecutable implements Executable {
  readonly #addon: TensorflowAddon;
  #session: number | null;
  readonly #program: Program;
  readonly #model: TensorflowModel;
  #held: ResidentState | null = null;

  constructor(addon: TensorflowAddon, session: number, program: Program, model: TensorflowModel) {
    this.#addon = addon;
    this.#session = session;
    this.#program = program;
    this.#model = model;
  }

  async run(feeds: Feeds, into: Targets = {}): Promise<Record<string, TensorData>> {
    const { inputs, outputs } = this.#model;
    for (const [key, target] of Object.entries(into)) sizesOf(this.#program, key, this.#program.outputs[key]!, target);
    return this.#call(
      Object.entries(inputs).map(([key, node]) => this.#fed(key, node, feeds)),
      outputs,
      into,
    );
  }

  hold(state: Readonly<Record<string, Float32Array>>): ResidentState {
    const model = this.#model;
    const isState = (key: string) => model.state.some(({ name }) => name === key);
    const inputs = Object.entries(model.inputs).filter(([key]) => !isState(key));
    const outputs = Object.fromEntries(Object.entries(model.outputs).filter(([key]) => !isState(key)));
    const saves = new Map(model.state.map(({ name, save }) => [name, save]));
    const current = () =>
      invariant(this.#held === held, () => `program "${this.#program.name}": another state took this one's place`);
    const held: ResidentState = {
      run: async (feeds) => {
        current();
        const fed = inputs.map(([key, node]) => this.#fed(key, node, feeds));
        const { [model.stepped]: _, ...results } = this.#call([...fed, this.#nothing()], {
          ...outputs,
          [model.stepped]: model.stepped,
        });
        return results;
      },
      read: async (into) => {
        current();
        const fetches = Object.keys(into).map((key) => [key, saves.get(key)!]);
        this.#call([this.#nothing()], Object.fromEntries(fetches), into);
      },
    };
    const loads = model.state.map(({ name, load }) => this.#fed(name, load, state));
    this.#call([...loads, this.#nothing()], { [model.loaded]: model.loaded });
    this.#held = held;
    return held;
  }

  dispose(): void {
    if (this.#session !== null) this.#addon.deleteSavedModel(this.#session);
    this.#session = null;
  }

  #fed(key: string, node: string, feeds: Feeds): Fed {
    const data = feeds[key];
    const sizes = sizesOf(this.#program, key, this.#program.inputs[key]!, data);
    return { node, sizes, values: data instanceof BigInt64Array ? Int32Array.from(data, Number) : data! };
  }

  #nothing(): Fed {
    return { node: this.#model.nothing, sizes: [], values: Int32Array.of(0) };
  }

  /** One session run, which blocks the thread. No tensor of the addon outlives it. */
  #call(feeds: readonly Fed[], fetches: Readonly<Record<string, string>>, into: Targets = {}) {
    const [addon, session, program] = [this.#addon, this.#session, this.#program];
    if (session === null) throw new InvariantError(`program "${program.name}" was disposed`);
    const made: number[] = [];
    try {
      for (const { sizes, values } of feeds) {
        made.push(addon.createTensor(sizes, values instanceof Float32Array ? addon.TF_FLOAT : addon.TF_INT32, values));
      }
      const keys = Object.keys(fetches);
      const inputs = feeds.map(({ node }) => `${node}:0`).join();
      const results = addon.runSavedModel(session, [...made], inputs, keys.map((key) => `${fetches[key]}:0`).join());
      made.push(...results.map(({ id }) => id));
      const outputs: Record<string, TensorData> = {};
      for (const [i, key] of keys.entries()) outputs[key] = this.#copied(key, results[i]!.id, into[key]);
      return outputs;
    } catch (cause) {
      throw new MachineError(`TensorFlow failed in "${program.name}": ${messageOf(cause)}`, { cause });
    } finally {
      for (const id of made) addon.deleteTensor(id);
    }
  }

  #copied(key: string, id: number, into: Float32Array | undefined): TensorData {
    const data = this.#addon.tensorDataSync(id);
    if (this.#program.outputs[key]?.dtype === "int64") return BigInt64Array.from(data as Int32Array, BigInt);
    into?.set(data);
    return into ?? data;
  }
}
