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

export interface ParameterLayout {
  readonly size: number;
  /** They cover the vector and do not overlap. */
  readonly groups: readonly Group[];
}
