/** Rows of one training or evaluation step, padded to one length. */
export interface Batch {
  readonly rows: number;
  /** Tokens per row, padding included. */
  readonly length: number;
  /** `[rows · length]`, row-major, padded on the right. */
  readonly ids: Int32Array;
  /** Non-padding tokens of each row, `[rows]`, each ≥ 1. */
  readonly lengths: Int32Array;
  /** Flat positions `row · length + position` whose *next* token carries loss, ascending. */
  readonly lossPositions: Int32Array;
  /** The next token at each of `lossPositions`. */
  readonly targets: Int32Array;
}
