/** What every executor offers: compile a program once, run it many times. */
import { InvariantError } from "../../base/errors.ts";
import type { Program, TensorType } from "../graph/ir.ts";
import { formatShape } from "../graph/shape.ts";
import type { StoredTensor } from "../stored/stored.ts";

export type TensorData = Float32Array | Int32Array | BigInt64Array;

type Feeds = Readonly<Record<string, TensorData>>;

/** Frozen tensors in one little-endian file that all executables map or read. */
export interface WeightSource {
  /** Absolute path of the file. */
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

export interface Executable {
  /**
   * Runs the program once. `feeds` holds one array per input, in row-major order.
   *
   * @param into arrays that receive outputs of known shape without a further copy, where the executor can do that
   */
  run(feeds: Feeds, into?: Readonly<Record<string, Float32Array>>): Promise<Record<string, TensorData>>;
  /**
   * Runs the program once for each of `steps`, from the state that the run before left. Absent where a call for each takes no more time.
   *
   * @param fixed what all runs are fed the same. @returns the last state, in memory of its own, and other outputs by step
   */
  runAll?(
    state: Readonly<Record<string, Float32Array>>,
    fixed: Feeds,
    steps: readonly Feeds[],
  ): Promise<{ readonly state: Record<string, Float32Array>; readonly outputs: readonly Record<string, TensorData>[] }>;
  /**
   * Puts the program's state, the float vectors that are inputs and outputs of one name, where it can stay from run to
   * run without passing through this process. An executable holds one state at a time. Absent where that gains nothing.
   */
  hold?(state: Readonly<Record<string, Float32Array>>): ResidentState;
  /** Frees native resources. */
  dispose(): void;
}

/** A program's state on its device; each run starts from what the one before left. */
export interface ResidentState {
  /** Feeds every input that is not state and returns every output that is not. */
  run(feeds: Readonly<Record<string, TensorData>>): Promise<Record<string, TensorData>>;
  /** Copies the state, or the parts of it named by `into`, back. */
  read(into: Readonly<Record<string, Float32Array>>): Promise<void>;
}

export interface Executor {
  readonly name: string;
  /** Whether it wants groups of uneven size padded to one length, rather than a product for each. */
  readonly pads?: boolean;
  /** @throws MachineError when the executor cannot run the program */
  compile(program: Program, weights: WeightSource | null): Promise<Executable>;
}

const arrayTypes = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, bool: null } as const;

/**
 * The sizes of an array handed over as `key`, with the one that only the array knows filled in.
 *
 * @throws InvariantError when the array is missing, or not of the type and size the program declares
 */
export function sizesOf(
  program: Program,
  key: string,
  { dtype, shape }: TensorType,
  data: TensorData | undefined,
): number[] {
  if (!data) throw new InvariantError(`program "${program.name}": input "${key}" is missing`);
  const known = shape.reduce<number>((product, dim) => (typeof dim === "number" ? product * dim : product), 1);
  const sizes = shape.map((dim) => (typeof dim === "number" ? dim : data.length / known));
  const type = arrayTypes[dtype];
  const fits = sizes.every(Number.isInteger) && sizes.reduce((a, b) => a * b, 1) === data.length;
  if (!fits || !type || !(data instanceof type)) {
    const got = `${data.constructor.name}(${data.length})`;
    throw new InvariantError(`program "${program.name}": "${key}" expected ${dtype} ${formatShape(shape)}, got ${got}`);
  }
  return sizes;
}
