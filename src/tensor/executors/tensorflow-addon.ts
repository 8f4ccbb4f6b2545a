/**
 * Loads TensorFlow through the native addon of `@tensorflow/tfjs-node-gpu` or `@tensorflow/tfjs-node`, whichever loads.
 *
 * Programs call the addon directly, with the functions beneath `tf.node.loadSavedModel` and `TFSavedModel.predict`:
 * tensors of TensorFlow.js belong to one engine per process, whose current backend anything else that uses
 * TensorFlow.js may change between two calls.
 */
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import util from "node:util";
import { MachineError, messageOf } from "../../base/errors.ts";

/** A tensor of the addon, freed by `deleteTensor` alone. */
interface AddonTensor {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: number;
}

/** What `tfjs_binding.node` exports, as far as programs need it. */
export interface TensorflowAddon {
  readonly TF_Version: string;
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  /** Shares the memory of `values` until the tensor is deleted. */
  createTensor(shape: readonly number[], dtype: number, values: Float32Array | Int32Array): number;
  deleteTensor(id: number): void;
  getNumOfTensors(): number;
  /** A copy. */
  tensorDataSync(id: number): Float32Array | Int32Array;
  loadSavedModel(folder: string, tags: string): number;
  deleteSavedModel(session: number): void;
  /** @param inputs and `outputs` are `node:output` names joined by commas */
  runSavedModel(session: number, tensors: readonly number[], inputs: string, outputs: string): AddonTensor[];
}

export interface Tensorflow {
  readonly addon: TensorflowAddon;
  /** Name and version of the package, and the version of TensorFlow it runs. */
  readonly description: string;
  readonly gpu: boolean;
}

/** The part of TensorFlow.js that leads to its addon. */
interface TensorflowJs {
  readonly version: Readonly<Record<string, string>>;
  backend(): { readonly binding: TensorflowAddon; readonly isUsingGPUDevice: boolean };
}

const packages = ["@tensorflow/tfjs-node-gpu", "@tensorflow/tfjs-node"] as const;

let loaded: Tensorflow | undefined;

/**
 * Loads the addon on first use. The first thread that does must be the main one: an addon that only workers loaded
 * crashes when the process ends.
 *
 * `FLAME_TFJS_NODE` names a folder with a `node_modules` of its own to look in first.
 *
 * @param threads threads within one op, of all sessions of the process together; what the first call says holds
 * @throws MachineError saying, for each package, why it did not load
 */
export function loadTensorflow(threads = 1): Tensorflow {
  if (loaded) return loaded;
  prepareProcess(threads);
  const problems: string[] = [];
  for (const name of packages) {
    const found = tryPackage(name);
    if (typeof found === "object") {
      loaded = found;
      return found;
    }
    problems.push(found);
  }
  throw new MachineError(`TensorFlow did not load: ${problems.join("; ")}`);
}

function tryPackage(name: string): Tensorflow | string {
  const folder = process.env.FLAME_TFJS_NODE;
  const requires = [
    ...(folder ? [createRequire(join(resolve(folder), "package.json"))] : []),
    createRequire(import.meta.url),
  ];
  const require = requires.find((candidate) => resolves(candidate, name));
  if (!require) return `${name} is not installed`;
  try {
    const tf = require(name) as TensorflowJs;
    const { binding, isUsingGPUDevice } = tf.backend();
    const version = (require(`${name}/package.json`) as { version: string }).version;
    const description = `${name} ${version}, TensorFlow ${binding.TF_Version}`;
    return { addon: binding, description, gpu: isUsingGPUDevice };
  } catch (error) {
    return `${name} does not load: ${messageOf(error).split("\n")[0]}`;
  }
}

function resolves(require: NodeJS.Require, name: string): boolean {
  try {
    require.resolve(name);
    return true;
  } catch {
    return false;
  }
}

/** What TensorFlow reads from the process when it loads; a user's own settings stay. */
function prepareProcess(threads: number): void {
  // tfjs-node 4.22 calls a function that Node 23 dropped.
  const old = util as { isNullOrUndefined?: (value: unknown) => boolean };
  old.isNullOrUndefined ??= (value) => value === null || value === undefined;
  const { env } = process;
  // It takes the whole card otherwise.
  env.TF_FORCE_GPU_ALLOW_GROWTH ??= "true";
  env.TF_NUM_INTRAOP_THREADS ??= String(threads);
  // Below 0, a session runs on the thread that calls it, so that workers run side by side, each on its own.
  env.TF_NUM_INTEROP_THREADS ??= "-1";
  // Warnings and errors alone.
  env.TF_CPP_MIN_LOG_LEVEL ??= "1";
}
