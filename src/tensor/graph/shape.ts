/**
 * Shapes of symbolic tensors: static sizes, sizes known only at run time, and ragged sizes.
 *
 * A *ragged* dimension is the concatenation of `groups` stretches of rows whose lengths are known only at run time (the
 * rows each expert received). It is always the first dimension. An executor may keep such a tensor in one piece or in
 * `groups` pieces; the program cannot tell.
 */
import { InvariantError } from "../../base/errors.ts";

export type DType = "float32" | "int32" | "int64" | "bool";

/** A size known only at run time. Two of them are equal when they are the same object. */
export interface SymbolicDim {
  readonly symbol: string;
  /** Present on ragged dimensions: into how many stretches the rows fall. */
  readonly groups?: number;
  /** At most so many rows, where that is known. */
  readonly most?: number;
}

export type Dim = number | SymbolicDim;
export type Shape = readonly Dim[];

export const isRagged = (shape: Shape): boolean => typeof shape[0] === "object" && shape[0].groups !== undefined;

/** Number of groups of a ragged shape. */
export function groupsOf(shape: Shape): number {
  const first = shape[0];
  if (typeof first !== "object" || first.groups === undefined) throw shapeError("groups", "a ragged shape", shape);
  return first.groups;
}

/** `[4, rows, 128]`; ragged dimensions print as `rows/16`. */
export function formatShape(shape: Shape): string {
  const dims = shape.map((dim) =>
    typeof dim === "number" ? String(dim) : dim.groups === undefined ? dim.symbol : `${dim.symbol}/${dim.groups}`,
  );
  return `[${dims.join(", ")}]`;
}

export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((dim, axis) => dim === b[axis]);

/** Elements of a static shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce<number>((product, dim) => {
    if (typeof dim !== "number") throw shapeError("sizeOf", "static sizes", shape);
    return product * dim;
  }, 1);
}

export function shapeError(op: string, expected: string, ...got: readonly Shape[]): InvariantError {
  return new InvariantError(`${op}: expected ${expected}, got ${got.map(formatShape).join(" and ")}`);
}

/** NumPy broadcasting: sizes match from the right, and 1 stretches. */
export function broadcastShapes(op: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  const dims: Dim[] = [];
  for (let axis = 0; axis < rank; axis++) {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw shapeError(op, "shapes that broadcast", a, b);
    dims.push(x === 1 ? y : x);
  }
  return dims;
}

/** Axes of `full` along which `part` was stretched, counted in `full`. */
export function stretchedAxes(part: Shape, full: Shape): number[] {
  const lead = full.length - part.length;
  return full.flatMap((dim, axis) => (axis < lead || (part[axis - lead] === 1 && dim !== 1) ? [axis] : []));
}

/** Checks `axis` and counts a negative one from the end. */
export function normalAxis(op: string, axis: number, shape: Shape): number {
  const normal = axis < 0 ? axis + shape.length : axis;
  if (normal < 0 || normal >= shape.length) throw shapeError(op, `a shape with axis ${axis}`, shape);
  return normal;
}
