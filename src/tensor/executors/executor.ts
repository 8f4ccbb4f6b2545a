/** What every executor offers: compile a program once, run it many times. */
import type { Program } from "../ir.ts";

export type TensorData = Float32Array | Int32Array | BigInt64Array;

/** Frozen tensors in one little-endian float32 file that all executables map or read. */
export interface WeightSource {
  /** Absolute path of the file. */
  readonly path: string;
  /** Byte offset and shape of each tensor in the file. */
  readonly tensors: ReadonlyMap<string, { readonly offset: number; readonly shape: readonly number[] }>;
}

export interface Executable {
  /**
   * Runs the program once. `feeds` holds one array per input, in row-major order.
   *
   * @param into arrays that receive outputs of known shape without a further copy, where the executor can do that
   */
  run(
    feeds: Readonly<Record<string, TensorData>>,
    into?: Readonly<Record<string, Float32Array>>,
  ): Promise<Record<string, TensorData>>;
  /** Frees native resources. */
  dispose(): void;
}

export interface Executor {
  readonly name: string;
  /** @throws MachineError when the executor cannot run the program */
  compile(program: Program, weights: WeightSource | null): Promise<Executable>;
}
