/**
 * Reads tensors of a safetensors file on demand, straight into the caller's array. A file stays open and is never held
 * in memory: opening costs its header, reading costs one chunk beside the target.
 *
 * Format: https://github.com/huggingface/safetensors
 */
import { closeSync, fstatSync } from "node:fs";
import { endianness } from "node:os";
import { readFully } from "../../base/disk.ts";
import { InputError, invariant, MachineError, messageOf } from "../../base/errors.ts";
import { openToRead } from "../../base/open.ts";
import { widenBfloat, widenHalf } from "../../tensor/stored/half.ts";
import { type Dtype, dtypeBytes, headerLength, parseHeader, type TensorEntry } from "./safetensors-header.ts";

export type { Dtype, TensorEntry } from "./safetensors-header.ts";

/** Element types that {@link SafetensorsFile.readFloats} turns into float32. */
export const floatDtypes: ReadonlySet<Dtype> = new Set(["F64", "F32", "F16", "BF16"]);

/** Bytes read at a time where a conversion stands between file and target. */
const chunkBytes = 1 << 20;

export class SafetensorsFile {
  readonly path: string;
  /** Length of the file when it was opened. */
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  #descriptor: number | null;

  private constructor(path: string, bytes: number, descriptor: number) {
    this.path = path;
    this.bytes = bytes;
    this.#descriptor = descriptor;
    const prefix = new Uint8Array(Math.min(512, bytes));
    this.#read(prefix, 0);
    const json = new Uint8Array(headerLength(prefix, bytes, path));
    this.#read(json, 8);
    const { tensors, metadata } = parseHeader(json, bytes, path);
    this.tensors = tensors;
    this.metadata = metadata;
  }

  /**
   * Opens a file and checks its whole header.
   *
   * @throws InputError naming the file and everything wrong with it
   */
  static open(path: string): SafetensorsFile {
    if (endianness() !== "LE") throw new MachineError("safetensors are little-endian, and this machine is not");
    const descriptor = openFile(path);
    try {
      return new SafetensorsFile(path, fstatSync(descriptor).size, descriptor);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  /** @throws InputError if the file has no tensor of this name */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (entry === undefined) throw new InputError(`${this.path}: there is no tensor ${JSON.stringify(name)}`);
    return entry;
  }

  /**
   * Fills `target` with elements `first … first + target.length − 1` of a floating-point tensor, in row-major order.
   * float16 and bfloat16 widen exactly; float64 is rounded to nearest.
   */
  readFloats(name: string, target: Float32Array, first = 0): void {
    const { dtype, size, start } = this.entry(name);
    if (!floatDtypes.has(dtype)) {
      throw new InputError(`${this.path}: tensor ${JSON.stringify(name)} is ${dtype}, expected a floating-point type`);
    }
    invariant(
      Number.isSafeInteger(first) && first >= 0 && first + target.length <= size,
      () => `elements ${first} to ${first + target.length} of ${name}, which has ${size}`,
    );
    const width = dtypeBytes[dtype];
    if (dtype === "F32") {
      this.#read(new Uint8Array(target.buffer, target.byteOffset, target.byteLength), start + first * width);
      return;
    }
    const chunk = new ArrayBuffer(Math.min(chunkBytes, target.length * width));
    for (let done = 0; done < target.length; ) {
      const count = Math.min(chunk.byteLength / width, target.length - done);
      this.#read(new Uint8Array(chunk, 0, count * width), start + (first + done) * width);
      const slice = target.subarray(done, done + count);
      if (dtype === "F16") widenHalf(new Uint16Array(chunk, 0, count), slice);
      else if (dtype === "BF16") widenBfloat(new Uint16Array(chunk, 0, count), slice);
      else slice.set(new Float64Array(chunk, 0, count));
      done += count;
    }
  }

  /** All elements of a floating-point tensor. */
  floats(name: string): Float32Array {
    const target = new Float32Array(this.entry(name).size);
    this.readFloats(name, target);
    return target;
  }

  /** Fills `target` with bytes of a tensor as they are stored, from byte `first` of that tensor. */
  readBytes(name: string, target: Uint8Array, first = 0): void {
    const { start, bytes } = this.entry(name);
    invariant(
      Number.isSafeInteger(first) && first >= 0 && first + target.length <= bytes,
      () => `bytes ${first} to ${first + target.length} of ${name}, which has ${bytes}`,
    );
    this.#read(target, start + first);
  }

  /** Closes the file; a second call does nothing. */
  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }

  #read(target: Uint8Array, position: number): void {
    invariant(this.#descriptor !== null, () => `${this.path} is read after it was closed`);
    readFully(this.#descriptor, target, position, this.path);
  }
}

function openFile(path: string): number {
  try {
    return openToRead(path);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path}: cannot be opened: ${messageOf(error)}`, { cause: error });
  }
}
