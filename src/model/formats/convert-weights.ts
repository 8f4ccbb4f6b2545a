/**
 * Writes the tensors of a checkpoint into the executor layout, narrowed as they come; 16 bits that stay as they are are moved
 * unread. No tensor is ever whole in memory: a scratch of 64 MB passes over the file, and a matrix that does not fit is
 * transposed in strips.
 */
import { setImmediate } from "node:timers/promises";
import { writeFully } from "../../base/disk.ts";
import { InputError, invariant } from "../../base/errors.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { narrowBfloat, narrowHalf, widenBfloat, widenHalf } from "../../tensor/stored/half.ts";
import { quantise } from "../../tensor/stored/quantise.ts";
import { blockRows, bytesOf, isQuantised, type NarrowType, type StoredTensor } from "../../tensor/stored/stored.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Dtype } from "./safetensors.ts";
import type { TensorFolder } from "./tensor-folder.ts";
import { transposeInto } from "./transpose.ts";
import { type Block, type BlockSource, weightTable } from "./weight-table.ts";

/** Elements of the scratch arrays; 64 MB each. */
const scratchSize = 1 << 24;

/** After this many elements the event loop gets a turn. */
const sliceSize = 1 << 22;

export interface ConversionOptions {
  /** Stops between two tensors; the conversion then throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Called now and then with the elements written so far and the elements in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What 16 bits are in a tensor of the executor layout: those of the checkpoint, or float16 where it has others. */
export function halfTypes({ config, forms, weights }: Checkpoint): (name: string) => "bfloat16" | "float16" {
  const others = new Set<string>();
  for (const { tensor, sources } of weightTable(config, forms)) {
    if (sources.some(({ name }) => weights.tensors.get(name)!.dtype !== "BF16")) others.add(tensor);
  }
  return (name) => (others.has(name) ? "float16" : "bfloat16");
}

/**
 * Fills an open file.
 *
 * @param tensors where everything belongs
 * @returns what narrowing changed, as a share of what it narrowed: the root of the sums of squares; 0 where nothing was
 */
export async function convertWeights(
  { config, forms, weights }: Checkpoint,
  descriptor: number,
  tensors: ReadonlyMap<string, StoredTensor>,
  { signal, onProgress }: ConversionOptions = {},
): Promise<number> {
  const total = [...tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  const file: Target = { descriptor, lost: 0, narrowed: 0 };
  let done = 0;
  let reported = 0;
  for (const block of weightTable(config, forms)) {
    const tensor = tensors.get(block.tensor)!;
    if (block.inputs === null) done += copyBlock(weights, file, tensor, block);
    else done += transposeBlock(weights, file, tensor, block, block.inputs);
    if (done - reported > sliceSize) {
      reported = done;
      onProgress?.(done, total);
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
  onProgress?.(total, total);
  return file.narrowed === 0 ? 0 : Math.sqrt(file.lost / file.narrowed);
}

/** Numbers, or the patterns of 16-bit numbers that are stored as they were. */
type Values = Float32Array | Uint16Array;

const sixteenBits: Readonly<Partial<Record<Dtype, NarrowType>>> = { BF16: "bfloat16", F16: "float16" };

/** For values on their way from these sources into a tensor. */
function arrayFor({ tensors }: TensorFolder, { type }: StoredTensor, sources: readonly BlockSource[]) {
  const stays = sources.every(({ name }) => type !== undefined && sixteenBits[tensors.get(name)!.dtype] === type);
  return (size: number): Values => (stays ? new Uint16Array(size) : new Float32Array(size));
}

interface Target {
  readonly descriptor: number;
  /** Sums of squares: of what narrowing changed, and of what was narrowed. */
  lost: number;
  narrowed: number;
}

/** @throws InputError at a weight that is not a finite number: every loss would be NaN, and nobody would know why */
function readWeights(weights: TensorFolder, name: string, target: Values, first: number): void {
  if (readFinite(weights, name, target, first)) return;
  const values = new Float32Array(target.length);
  weights.readFloats(name, values, first);
  const at = values.findIndex((value) => !Number.isFinite(value));
  throw new InputError(
    `${weights.folder}: tensor ${name} has ${values[at]} at element ${first + at}, expected finite numbers; damaged?`,
  );
}

/** Fills `target` and tells whether all of it is finite. */
function readFinite(weights: TensorFolder, name: string, target: Values, first: number): boolean {
  if (target instanceof Float32Array) {
    weights.readFloats(name, target, first);
    // v − v is 0 for every finite v and NaN for the others.
    let sum = 0;
    for (let i = 0; i < target.length; i++) sum += target[i]! - target[i]!;
    return sum === 0;
  }
  weights.readBytes(name, new Uint8Array(target.buffer), 2 * first);
  const exponent = weights.tensors.get(name)!.dtype === "F16" ? 0x7c00 : 0x7f80;
  let largest = 0;
  for (let i = 0; i < target.length; i++) largest = Math.max(largest, target[i]! & exponent);
  return largest < exponent;
}

function copyBlock(weights: TensorFolder, file: Target, tensor: StoredTensor, block: Block): number {
  invariant(!isQuantised(tensor.type), () => `${block.tensor} is copied as a vector, which has no blocks of rows`);
  const array = arrayFor(weights, tensor, block.sources);
  let position = block.start;
  for (const { name, start, outputs } of block.sources) {
    for (let first = 0; first < outputs; first += scratchSize) {
      const chunk = array(Math.min(scratchSize, outputs - first));
      readWeights(weights, name, chunk, start + first);
      write(file, { tensor, name, start: position, columns: chunk.length, column: 0, count: chunk.length }, chunk);
      position += chunk.length;
    }
  }
  return position - block.start;
}

/** The sources side by side, each transposed: in one piece if they fit, else strip by strip. */
function transposeBlock(
  weights: TensorFolder,
  file: Target,
  tensor: StoredTensor,
  { start, sources }: Block,
  inputs: number,
): number {
  const columns = sources.reduce((sum, { outputs }) => sum + outputs, 0);
  const array = arrayFor(weights, tensor, sources);
  const whole = inputs * columns <= scratchSize ? array(inputs * columns) : undefined;
  let column = 0;
  for (const source of sources) {
    // An even number, so that a strip of int4 ends with a byte.
    const rows = Math.max(2, 2 * Math.floor(scratchSize / inputs / 2));
    for (let first = 0; first < source.outputs; first += rows) {
      const count = Math.min(rows, source.outputs - first);
      const strip = array(count * inputs);
      readWeights(weights, source.name, strip, source.start + first * inputs);
      const turned = whole ?? array(inputs * count);
      transposeInto(strip, inputs, 0, turned, whole ? columns : count, whole ? column + first : 0, count, inputs);
      if (!whole) write(file, { tensor, name: source.name, start, columns, column: column + first, count }, turned);
    }
    column += source.outputs;
  }
  if (whole) write(file, { tensor, name: sources[0]!.name, start, columns, column: 0, count: columns }, whole);
  return inputs * columns;
}

/** All rows of `count` columns, from `column` on, of the matrix with `columns` that begins at element `start` of a tensor. */
interface Part {
  readonly tensor: StoredTensor;
  /** Where its values are from, for errors. */
  readonly name: string;
  readonly start: number;
  readonly columns: number;
  readonly column: number;
  readonly count: number;
}

/** @param values `[rows, count]` */
function write(file: Target, { tensor, name, start, columns, column, count }: Part, values: Values): void {
  const { offset, type, scales } = tensor;
  const at = offset + bytesOf(type, start + column);
  const rows = values.length / count;
  if (type === undefined || values instanceof Uint16Array) {
    writeRows(
      file,
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      rows,
      at,
      bytesOf(type, columns),
    );
    return;
  }
  const widened = new Float32Array(values.length);
  if (isQuantised(type)) {
    if (type === "int4" && [values.length, ...(count === columns ? [] : [columns, column, count])].some((n) => n % 2)) {
      throw new InputError(`${name} has an odd number of rows, which int4 cannot put two to a byte; int8 can`);
    }
    const { integers, scales: factors } = quantise(values, count, type, widened);
    writeRows(file, integers, rows, at, bytesOf(type, columns));
    const blocks = Math.ceil(rows / blockRows);
    const first = (start / rows) * blocks + column;
    writeRows(file, new Uint8Array(factors.buffer), blocks, scales! + 2 * first, 2 * columns);
  } else {
    const patterns = new Uint16Array(values.length);
    if (type === "bfloat16") narrowBfloat(values, patterns);
    else narrowHalf(values, patterns);
    if (type === "bfloat16") widenBfloat(patterns, widened);
    else widenHalf(patterns, widened);
    writeRows(file, new Uint8Array(patterns.buffer), rows, at, 2 * columns);
  }
  let [lost, narrowed] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    lost += (values[i]! - widened[i]!) ** 2;
    narrowed += values[i]! ** 2;
  }
  if (!Number.isFinite(lost)) {
    const value = values.find((each, i) => !Number.isFinite(each - widened[i]!));
    throw new InputError(`${name} has a weight of ${value}, which ${type} cannot hold; float32 can: --base f32`);
  }
  file.lost += lost;
  file.narrowed += narrowed;
}

/** Rows of equal length, `stride` bytes from one to the next. */
function writeRows({ descriptor }: Target, bytes: Uint8Array, rows: number, position: number, stride: number): void {
  const each = bytes.length / rows;
  if (each === stride) writeFully(descriptor, bytes, position);
  else
    for (let row = 0; row < rows; row++)
      writeFully(descriptor, bytes.subarray(row * each, (row + 1) * each), position + row * stride);
}
