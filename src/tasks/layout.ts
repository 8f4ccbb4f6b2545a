/** Where the trainable parameters of a task lie in one flat vector: in groups, which are the units of averaging. */

/** A stretch of the flat vector: `[start, end)`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** An expert, a layer, a head. */
interface Group {
  readonly name: string;
  readonly ranges: readonly Range[];
}

/** A change ΔW = scale · B·A of an `[outputs, inputs]` matrix, by the places of its factors. */
export interface LowRankPair {
  /** Which group both factors belong to. */
  readonly group: number;
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  /** alpha ÷ rank */
  readonly scale: number;
  /** Where A begins, `[rank, inputs]`. */
  readonly a: number;
  /** Where B begins, `[outputs, rank]`. */
  readonly b: number;
}

export interface ParameterLayout {
  readonly size: number;
  /** They cover the vector and do not overlap. */
  readonly groups: readonly Group[];
  /** Empty where nothing is low-rank. */
  readonly pairs: readonly LowRankPair[];
}
