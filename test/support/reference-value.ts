/** A tensor of the float64 reference. */
export interface Value {
  readonly shape: readonly number[];
  /** Row-major. Integers are exact, booleans 0 and 1. */
  readonly data: Float64Array;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
export const value = (shape: readonly number[], data: ArrayLike<number>): Value => ({
  shape,
  data: Float64Array.from(data),
});
