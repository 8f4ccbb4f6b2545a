/** Parquet files with one column and one page, which say what a test wants them to; no writer would. */

/** Fields of a structure in Thrift's compact form, by their number; a list is of structures, texts or numbers. */
type Field = number | bigint | string | boolean | Struct | readonly (Struct | string | number)[];
interface Struct {
  readonly [field: number]: Field;
}

const varint = (value: number | bigint): number[] => {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
};
const zigzag = (value: number | bigint): number[] =>
  varint(BigInt(value) >= 0 ? 2n * BigInt(value) : -2n * BigInt(value) - 1n);

function typeOf(value: Field): number {
  if (typeof value === "boolean") return value ? 1 : 2;
  if (typeof value === "number") return 5;
  if (typeof value === "bigint") return 6;
  if (typeof value === "string") return 8;
  return Array.isArray(value) ? 9 : 12;
}

function bytesOf(value: Field): number[] {
  if (typeof value === "boolean") return [];
  if (typeof value === "number" || typeof value === "bigint") return zigzag(value);
  if (typeof value === "string") return [...varint(value.length), ...Buffer.from(value)];
  if (!Array.isArray(value)) return struct(value as Struct);
  return [(value.length << 4) | typeOf(value[0]!), ...value.flatMap(bytesOf)];
}

const struct = (fields: Struct): number[] => {
  let before = 0;
  const parts = Object.entries(fields).flatMap(([key, value]) => {
    const delta = Number(key) - before;
    before = Number(key);
    return [(delta << 4) | typeOf(value), ...bytesOf(value)];
  });
  return [...parts, 0];
};

/** Numbers that the format has for names. */
export const encodings = { plain: 0, rle: 3, deltaByteArray: 7, rleDictionary: 8 };

export interface Claims {
  /** Rows, and values of the column, as its group says. */
  readonly rows: number;
  /** The first version's, or the second's. */
  readonly page: Struct;
  readonly isSecond?: boolean;
  /** What the header says of the other version. */
  readonly other?: Struct;
  readonly body: readonly number[];
  readonly isOptional?: boolean;
  readonly type?: "text" | "truth";
  /** What the footer says of its own length. */
  readonly footer?: number;
}

export function parquetFile({
  rows,
  page,
  isSecond = false,
  other,
  body,
  isOptional = false,
  type = "text",
  footer,
}: Claims): Buffer {
  const pages = { [isSecond ? 8 : 5]: page, ...(other && { [isSecond ? 5 : 8]: other }) };
  const header = struct({ 1: isSecond ? 3 : 0, 2: body.length, 3: body.length, ...pages });
  const column = { 1: type === "text" ? 6 : 0, 2: [0], 3: ["text"], 4: 0, 5: BigInt(rows) };
  const sizes = { 6: BigInt(header.length + body.length), 7: BigInt(header.length + body.length), 9: 4n };
  const leaf = { 1: type === "text" ? 6 : 0, 3: isOptional ? 1 : 0, 4: "text", ...(type === "text" && { 6: 0 }) };
  const metadata = struct({
    1: 1,
    2: [{ 4: "schema", 5: 1 }, leaf],
    3: BigInt(rows),
    4: [{ 1: [{ 2: 4n, 3: { ...column, ...sizes } }], 2: 0n, 3: BigInt(rows) }],
  });
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer ?? metadata.length);
  return Buffer.concat(
    ["PAR1", Buffer.from([...header, ...body, ...metadata]), length, "PAR1"].map((part) => Buffer.from(part as string)),
  );
}
