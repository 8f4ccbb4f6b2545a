/**
 * Frozen tensors as they lie in a file: float32, 16 bits, or integers in blocks with a scale each.
 *
 *   float32, bfloat16, float16   the numbers, row-major
 *   int8, int4                   w = q · s, rounded to float32; one scale s for every 32 rows of a column
 *
 * A matrix is `[in, out]`, so a block lies along what a product sums over. Two int4 share a byte, the earlier one in its
 * lower half. Scales are bfloat16, which has the range of float32: no block over- or underflows, and with 0.5 bits a weight
 * they take half of what float32 would. This is what ONNX's `DequantizeLinear` computes, bit for bit.
 */

import { readFully } from "../../base/disk.ts";
import { widenBfloat, widenHalf } from "./half.ts";

export const narrowTypes = ["bfloat16", "float16", "int8", "int4"] as const;
/** What is widened where it is used. */
export type NarrowType = (typeof narrowTypes)[number];
export type StoredType = "float32" | NarrowType;

export interface StoredTensor {
  /** First byte in the file. */
  readonly offset: number;
  readonly shape: readonly number[];
  /** Float32 unless given. */
  readonly type?: NarrowType;
  /** Of int8 and int4: first byte of the scales, `[.., ⌈in ÷ 32⌉, out]`. */
  readonly scales?: number;
}

/** Rows of a column that share a scale. */
export const blockRows = 32;

const bits = { float32: 32, bfloat16: 16, float16: 16, int8: 8, int4: 4 } as const;

/** Of so many elements, an even number if they are int4. */
export const bytesOf = (type: StoredType = "float32", elements: number): number => (elements * bits[type]) / 8;

export const isQuantised = (type: NarrowType | undefined): type is "int8" | "int4" =>
  type === "int8" || type === "int4";

/** Of a `[.., in, out]` tensor's scales. */
export const scalesShape = (shape: readonly number[]): number[] =>
  shape.with(-2, Math.ceil(shape.at(-2)! / blockRows)) as number[];

/**
 * Fills `target` with elements `first … first + target.length − 1`, widened.
 *
 * @param descriptor of the open file
 * @param path of the file, for errors
 */
export function readStored(
  descriptor: number,
  path: string,
  { offset, shape, type, scales }: StoredTensor,
  target: Float32Array,
  first = 0,
): void {
  if (type === undefined) {
    readFully(
      descriptor,
      new Uint8Array(target.buffer, target.byteOffset, target.byteLength),
      offset + 4 * first,
      path,
    );
    return;
  }
  if (!isQuantised(type)) {
    const patterns = readHalves(descriptor, path, offset + 2 * first, target.length);
    if (type === "bfloat16") widenBfloat(patterns, target);
    else widenHalf(patterns, target);
    return;
  }
  const [rows, columns] = shape.slice(-2) as [number, number];
  const blocks = Math.ceil(rows / blockRows);
  const from = Math.floor(bytesOf(type, first));
  const bytes = new Uint8Array(Math.ceil(bytesOf(type, first + target.length)) - from);
  readFully(descriptor, bytes, offset + from, path);
  const integers = type === "int8" ? new Int8Array(bytes.buffer) : nibbles(bytes);
  const skipped = type === "int8" ? 0 : first % 2;
  // A row of its matrix at a time, which has a row of scales.
  for (let at = 0; at < target.length; ) {
    const row = Math.floor((first + at) / columns);
    const column = (first + at) % columns;
    const count = Math.min(columns - column, target.length - at);
    const scaleRow = Math.floor(row / rows) * blocks + Math.floor((row % rows) / blockRows);
    const factors = new Float32Array(count);
    widenBfloat(readHalves(descriptor, path, scales! + 2 * (scaleRow * columns + column), count), factors);
    for (let i = 0; i < count; i++) target[at + i] = integers[skipped + at + i]! * factors[i]!;
    at += count;
  }
}

function readHalves(descriptor: number, path: string, position: number, count: number): Uint16Array {
  const patterns = new Uint16Array(count);
  readFully(descriptor, new Uint8Array(patterns.buffer), position, path);
  return patterns;
}

function nibbles(bytes: Uint8Array): Int8Array {
  const values = new Int8Array(2 * bytes.length);
  for (const [i, byte] of bytes.entries()) {
    values[2 * i] = (byte << 28) >> 28;
    values[2 * i + 1] = (byte << 24) >> 28;
  }
  return values;
}
