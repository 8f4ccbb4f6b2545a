/** Rows of examples for training and evaluation steps, in shapes that one compiled step can serve. */
import { invariant } from "../base/errors.ts";
import type { Draws } from "../base/random.ts";
import { columnsOf, exampleLength, type RowData } from "./examples.ts";
import type { TokenizedData } from "./tokenized.ts";

/** Rows of one training or evaluation step, padded to one length. */
export interface Batch {
  readonly rows: number;
  /** Units per row, padding included: tokens, or 1 image. */
  readonly length: number;
  /**
   * What rows hold, by the names of a program's inputs, row after row: of text, `ids`, `[rows · length]`, padded on the
   * right.
   */
  readonly inputs: Readonly<Record<string, Int32Array | Float32Array>>;
  /**
   * Units of each row that are no padding, `[rows]`. 0 marks an empty row, which fills up the last batch of an epoch: it
   * is all padding, carries no loss, counts for no activation and is no example.
   */
  readonly lengths: Int32Array;
  /** Flat positions `row · length + position` that carry loss, ascending: of text, those whose *next* token does. */
  readonly lossPositions: Int32Array;
  /** What is to be predicted at each of `lossPositions`: the next token, the class. */
  readonly targets: Int32Array;
}

/** The tokens of a batch of text, `[rows · length]`. */
export const idsOf = ({ inputs }: Pick<Batch, "inputs">): Int32Array => inputs.ids as Int32Array;

/** What batches are made of. */
export type BatchData = TokenizedData | RowData;

export interface BatchOptions {
  /** Rows of every batch; the last one is filled up with empty rows. */
  readonly batchSize: number;
  /** Longest row; every example must fit. */
  readonly length: number;
  /** A batch is as long as its longest example, rounded up to a multiple of this; by default all are `length` long. */
  readonly roundTo?: number;
}

/** Every epoch passes over all examples once, in an order of its own. The loss is on response and end token. */
export function trainBatches(
  data: BatchData,
  indices: Uint32Array,
  options: BatchOptions & { readonly epochs: number; readonly draws: Draws },
): Batch[] {
  const order = Uint32Array.from(indices);
  const batches: Batch[] = [];
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    options.draws.shuffle(order);
    for (const batch of inBatches(data, order, options)) batches.push(batch);
  }
  return batches;
}

/** Examples of like length share a batch, which saves padding when `roundTo` is given. */
export function evaluationBatches(data: BatchData, indices: Uint32Array, options: BatchOptions): Batch[] {
  const order = Uint32Array.from(indices).sort((a, b) => exampleLength(data, a) - exampleLength(data, b) || a - b);
  return inBatches(data, order, options);
}

/**
 * Rows with loss on every token.
 *
 * @param tokens one run of `length + 1` tokens per row
 */
export function packedBatch(tokens: ArrayLike<number>, rows: number, length: number): Batch {
  const size = rows * length;
  invariant(tokens.length === size + rows, () => `${tokens.length} tokens for ${rows} rows of ${length}`);
  const ids = new Int32Array(size);
  const targets = new Int32Array(size);
  for (let at = 0; at < size; at++) {
    const from = at + Math.floor(at / length);
    ids[at] = tokens[from]!;
    targets[at] = tokens[from + 1]!;
  }
  const lossPositions = Int32Array.from({ length: size }, (_, at) => at);
  return { rows, length, inputs: { ids }, lengths: new Int32Array(rows).fill(length), lossPositions, targets };
}

function inBatches(data: BatchData, order: Uint32Array, options: BatchOptions): Batch[] {
  const { batchSize, length, roundTo } = options;
  const batches: Batch[] = [];
  for (let from = 0; from < order.length; from += batchSize) {
    const examples = order.subarray(from, from + batchSize);
    const longest = examples.reduce((most, e) => Math.max(most, exampleLength(data, e)), 1);
    invariant(longest <= length, () => `an example has ${longest} tokens, batches have rows of ${length}`);
    const rowLength = roundTo === undefined ? length : Math.min(length, Math.ceil(longest / roundTo) * roundTo);
    batches.push(batchOf(data, examples, batchSize, rowLength));
  }
  return batches;
}

const batchOf = (data: BatchData, examples: Uint32Array, rows: number, length: number): Batch =>
  "tokens" in data ? batchOfTokens(data, examples, rows, length) : batchOfRows(data, examples, rows);

function batchOfRows(data: RowData, examples: Uint32Array, rows: number): Batch {
  return {
    rows,
    length: 1,
    inputs: columnsOf(data, examples, rows),
    lengths: new Int32Array(rows).fill(1, 0, examples.length),
    lossPositions: Int32Array.from(examples, (_, row) => row),
    targets: Int32Array.from(examples, (e) => data.labels[e]!),
  };
}

function batchOfTokens(data: TokenizedData, examples: Uint32Array, rows: number, length: number): Batch {
  const ids = new Int32Array(rows * length).fill(data.pad);
  const lengths = new Int32Array(rows);
  const isQuiet = (e: number, at: number): boolean => data.quiet !== null && data.quiet[data.offsets[e]! + at] === 1;
  let responses = 0;
  for (const e of examples) {
    for (let at = data.responseStart[e]!; at < exampleLength(data, e); at++) if (!isQuiet(e, at)) responses++;
  }
  const lossPositions = new Int32Array(responses);
  const targets = new Int32Array(responses);
  let filled = 0;
  for (const [row, e] of examples.entries()) {
    const tokens = data.tokens.subarray(data.offsets[e], data.offsets[e + 1]);
    ids.set(tokens, row * length);
    lengths[row] = tokens.length;
    for (let at = data.responseStart[e]!; at < tokens.length; at++) {
      if (isQuiet(e, at)) continue;
      lossPositions[filled] = row * length + at - 1;
      targets[filled++] = tokens[at]!;
    }
  }
  return { rows, length, inputs: { ids }, lengths, lossPositions, targets };
}
