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

/** A value from a function of its coordinates. */
export function build(shape: readonly number[], f: (at: number[], flat: number) => number): Value {
  const data = new Float64Array(sizeOf(shape));
  for (let flat = 0; flat < data.length; flat++) data[flat] = f(coordinates(flat, shape), flat);
  return { shape, data };
}

export function coordinates(flat: number, shape: readonly number[]): number[] {
  const at = new Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    at[axis] = flat % shape[axis]!;
    flat = Math.floor(flat / shape[axis]!);
  }
  return at;
}

/** The element at `at`, aligned from the right; axes of size 1 stretch. */
export function read({ shape, data }: Value, at: readonly number[]): number {
  const lead = at.length - shape.length;
  let flat = 0;
  for (const [axis, size] of shape.entries()) flat = flat * size + (size === 1 ? 0 : at[lead + axis]!);
  return data[flat]!;
}
