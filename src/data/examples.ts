/** Examples, as splitting and dealing see them, and those that are equally many numbers each: images, views, rows of a table. */

/** Plain data, its large parts in shared memory: passes to a worker by `postMessage` as it is. */
export interface Examples {
  readonly examples: number;
  /** Where each example's units begin, `[examples + 1]`: tokens. Absent where an example is one unit. */
  readonly offsets?: Uint32Array;
  /** Row of `categoryNames`, `[examples]`. */
  readonly category: Uint16Array;
  /** Ascending, so they do not depend on the order of examples. */
  readonly categoryNames: readonly string[];
  /** Row of `ownerNames`, `[examples]`: whose each is, where the partition goes by a column. */
  readonly owner?: Uint32Array;
  readonly ownerNames?: readonly string[];
  /** Hash of the question, `[examples]`, in [0, 1): decides the split. Examples of one hash stay on one side. */
  readonly questionHash: Float64Array;
  /** 1 for an example that is there to be evaluated, `[examples]`: where given, it is the split. */
  readonly heldOut?: Uint8Array;
  /** SHA-256 of the file they were read from; null for examples from elsewhere. */
  readonly digest: string | null;
  /** What of the file is in no example, for its user. */
  readonly notes: readonly string[];
}

/** Units of example `e`: tokens, end token included, or 1. */
export const exampleLength = ({ offsets }: Pick<Examples, "offsets">, e: number): number =>
  offsets === undefined ? 1 : offsets[e + 1]! - offsets[e]!;

/** What a program is fed of each example under one name. */
interface Column {
  /** Numbers of an example. */
  readonly width: number;
  /** `[examples · width]`, in shared memory. */
  readonly values: Float32Array | Uint8Array;
  /** A program is fed `scale · value`: 1/255 for pixels of a byte. */
  readonly scale: number;
}

/** Of equally many numbers each. */
export interface RowData extends Examples {
  /** By the names of the program's inputs. */
  readonly columns: Readonly<Record<string, Column>>;
  /** The class of each example, `[examples]`; all 0 where there are none. */
  readonly labels: Int32Array;
}

/** Of the named rows, one after the other; zeros up to `rows`. */
export function columnsOf({ columns }: RowData, examples: Uint32Array, rows: number): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(columns).map(([name, { width, values, scale }]) => {
      const fed = new Float32Array(rows * width);
      for (const [row, e] of examples.entries()) {
        for (let i = 0; i < width; i++) fed[row * width + i] = scale * values[e * width + i]!;
      }
      return [name, fed];
    }),
  );
}

/** Rows of names in ascending order; by their value where all are numbers. */
export function owners(of: readonly string[]): Required<Pick<Examples, "owner" | "ownerNames">> {
  const ownerNames = [...new Set(of)].sort();
  if (ownerNames.every((name) => Number.isFinite(Number(name)))) ownerNames.sort((a, b) => Number(a) - Number(b));
  const rows = new Map(ownerNames.map((name, row) => [name, row]));
  return {
    owner: shared(
      Uint32Array,
      of.map((name) => rows.get(name)!),
    ),
    ownerNames,
  };
}

type Numbers = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** A copy in shared memory. */
export function shared<Type extends Numbers>(
  make: { new (buffer: SharedArrayBuffer): Type; readonly BYTES_PER_ELEMENT: number },
  values: ArrayLike<number>,
): Type {
  const copy = new make(new SharedArrayBuffer(values.length * make.BYTES_PER_ELEMENT));
  copy.set(values);
  return copy;
}
