/**
 * Writes the tensors of a checkpoint into the executor layout, one float32 file. No tensor is ever whole in memory: a
 * scratch of 64 MB passes over the file, and a matrix that does not fit is transposed in strips.
 */
import { setImmediate } from "node:timers/promises";
import { writeFully } from "../../base/disk.ts";
import { InputError } from "../../base/errors.ts";
import { type BaseTensor, baseWeightPlan } from "../base-weights.ts";
import type { Checkpoint } from "./checkpoint.ts";
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

/** Fills an open file as {@link baseWeightPlan} lays it out. */
export async function convertWeights(
  { config, forms, weights }: Checkpoint,
  descriptor: number,
  { signal, onProgress }: ConversionOptions = {},
): Promise<void> {
  const { tensors, bytes } = baseWeightPlan(config);
  const total = bytes / 4;
  let done = 0;
  let reported = 0;
  for (const block of weightTable(config, forms)) {
    const { offset } = tensors.get(block.tensor) as BaseTensor;
    if (block.inputs === null) done += copyBlock(weights, descriptor, offset, block);
    else done += transposeBlock(weights, descriptor, offset, block, block.inputs);
    if (done - reported > sliceSize) {
      reported = done;
      onProgress?.(done, total);
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
  onProgress?.(total, total);
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

/** @throws InputError at a weight that is not a finite number: every loss would be NaN, and nobody would know why */
function readWeights(weights: TensorFolder, name: string, target: Float32Array, first: number): void {
  weights.readFloats(name, target, first);
  // v − v is 0 for every finite v and NaN for the others, so one sum tells whether there is anything to look for.
  let sum = 0;
  for (let i = 0; i < target.length; i++) sum += target[i]! - target[i]!;
  if (sum === 0) return;
  const at = target.findIndex((value) => !Number.isFinite(value));
  throw new InputError(
    `${weights.folder}: tensor ${name} has ${target[at]} at element ${first + at}, expected finite numbers; damaged?`,
  );
}

function copyBlock(weights: TensorFolder, descriptor: number, offset: number, block: Block): number {
  let position = block.start;
  for (const { name, start, outputs } of block.sources) {
    for (let first = 0; first < outputs; first += scratchSize) {
      const chunk = new Float32Array(Math.min(scratchSize, outputs - first));
      readWeights(weights, name, chunk, start + first);
      writeFully(descriptor, bytesOf(chunk), offset + position * 4);
      position += chunk.length;
    }
  }
  return position - block.start;
}

function transposeBlock(
  weights: TensorFolder,
  descriptor: number,
  offset: number,
  { start, sources }: Block,
  inputs: number,
): number {
  const columns = sources.reduce((sum, { outputs }) => sum + outputs, 0);
  const fits = inputs * columns <= scratchSize;
  const whole = fits ? new Float32Array(inputs * columns) : undefined;
  let column = 0;
  for (const source of sources) {
    const rows = Math.max(1, Math.floor(scratchSize / inputs));
    for (let first = 0; first < source.outputs; first += rows) {
      const count = Math.min(rows, source.outputs - first);
      const strip = readRows(weights, source, first, count, inputs);
      if (whole !== undefined) transposeInto(strip, inputs, 0, whole, columns, column + first, count, inputs);
      else writeStrip(descriptor, offset + start * 4, strip, inputs, count, columns, column + first);
    }
    column += source.outputs;
  }
  if (whole !== undefined) writeFully(descriptor, bytesOf(whole), offset + start * 4);
  return inputs * columns;
}

function readRows(
  weights: TensorFolder,
  source: BlockSource,
  first: number,
  count: number,
  inputs: number,
): Float32Array {
  const strip = new Float32Array(count * inputs);
  readWeights(weights, source.name, strip, source.start + first * inputs);
  return strip;
}

/** Writes `count` columns of a matrix that lies in the file, one stretch per row. */
function writeStrip(
  descriptor: number,
  offset: number,
  strip: Float32Array,
  inputs: number,
  count: number,
  columns: number,
  column: number,
): void {
  const turned = new Float32Array(inputs * count);
  transposeInto(strip, inputs, 0, turned, count, 0, count, inputs);
  for (let row = 0; row < inputs; row++) {
    const stretch = turned.subarray(row * count, (row + 1) * count);
    writeFully(descriptor, bytesOf(stretch), offset + (row * columns + column) * 4);
  }
}
