/**
 * Records of a Parquet file, one group of rows after the other.
 *
 * The file is hostile until parsed: what a page says of its size is looked at before anything of that size is made.
 */
import { closeSync, fstatSync, readSync, statSync } from "node:fs";
import {
  type AsyncBuffer,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type RowGroup,
  type SchemaTree,
} from "hyparquet";
import { InputError, messageOf } from "../../base/errors.ts";
import { occursTwice } from "../../base/json.ts";
import { openToRead } from "../../base/open.ts";
import { quoted } from "../../base/text.ts";
import { compressors, sizesOf } from "./pages.ts";
import { passStruct } from "./thrift.ts";

/** Of a group of rows, unpacked. Writers make groups of some 100 MiB at most. */
const MOST_GROUP_BYTES = 2 ** 30;
const MOST_GROUP_VALUES = 2 ** 26;
const MOST_FOOTER_BYTES = 2 ** 24;

const beginning = Buffer.from("PAR1");

export function isParquet(path: string): boolean {
  try {
    // A pipe can be read once, and only from its beginning on.
    if (!statSync(path).isFile()) return false;
    const file = openToRead(path);
    try {
      const head = Buffer.alloc(beginning.length);
      return readSync(file, head, 0, head.length, 0) === head.length && head.equals(beginning);
    } finally {
      closeSync(file);
    }
  } catch (cause) {
    throw cause instanceof InputError ? cause : new InputError(`cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/**
 * The rows of a file in their order, numbered from 0.
 *
 * @param name stands in front of every error
 * @throws InputError for a file that is damaged, too large, packed in a way not known or has one column twice
 */
export async function* parquetRows(
  path: string,
  name: string,
): AsyncGenerator<{ readonly value: unknown; readonly row: number }> {
  const descriptor = openToRead(path);
  try {
    const file = bufferOf(descriptor);
    const metadata = await explained(name, () => {
      checkFooter(descriptor);
      return parquetMetadataAsync(file);
    });
    const schema = await explained(name, () => parquetSchema(metadata));
    const twice = repeatedColumn(schema);
    if (twice !== null) throw new InputError(`${name}: ${occursTwice(twice)}`);
    let row = 0;
    for (const group of metadata.row_groups) {
      const rows = await explained(name, () => {
        checkGroup(descriptor, group, leavesOf(schema));
        const rowEnd = row + Number(group.num_rows);
        return parquetReadObjects({ file, metadata, rowStart: row, rowEnd, compressors, parsers });
      });
      for (const value of rows) yield { value: plain(value), row: row++ };
    }
  } finally {
    closeSync(descriptor);
  }
}

async function explained<Result>(name: string, read: () => Result): Promise<Awaited<Result>> {
  try {
    return await read();
  } catch (cause) {
    throw new InputError(`${name} is a Parquet file that cannot be read: ${messageOf(cause)}`, { cause });
  }
}

const bufferOf = (descriptor: number): AsyncBuffer => {
  const byteLength = fstatSync(descriptor).size;
  return { byteLength, slice: async (start, end = byteLength) => bytesOf(descriptor, start, end).buffer };
};

function bytesOf(descriptor: number, start: number, end: number): Uint8Array<ArrayBuffer> {
  const { size } = fstatSync(descriptor);
  if (!(start >= 0 && start <= end && end <= size)) {
    throw new Error(`it names the bytes ${start} to ${end} of ${size}`);
  }
  const bytes = new Uint8Array(end - start);
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(descriptor, bytes, at, bytes.length - at, start + at);
    if (count === 0) throw new Error("it ends while it is read");
    at += count;
  }
  return bytes;
}

/**
 * What a group says of its columns, and the pages of themselves: one column for each of the schema, sizes that can be made,
 * as many values as the group has. What the reader then finds to be wrong, it finds in columns that it waits for.
 */
function checkGroup(descriptor: number, { columns, num_rows }: RowGroup, leaves: readonly SchemaTree[][]): void {
  const paths = columns.map(({ meta_data }) => meta_data?.path_in_schema.join("\0"));
  if (paths.length !== leaves.length || leaves.some((leaf, at) => leaf.at(-1)!.path.join("\0") !== paths[at])) {
    throw new Error("a group of rows has other columns than the schema");
  }
  let [bytes, values] = [0, 0];
  for (const [at, { meta_data: column }] of columns.entries()) {
    if (column === undefined) throw new Error("it has a column without a description");
    const leaf = leaves[at]!;
    const start = Number(column.dictionary_page_offset || column.data_page_offset);
    const stored = Number(column.total_compressed_size);
    if (stored > MOST_GROUP_BYTES) throw new Error(`it has a column of ${stored} bytes in a group of rows`);
    const found = sizesOf(bytesOf(descriptor, start, start + stored), column, leaf);
    bytes += found.bytes;
    // Each value brings the lists that it is in.
    values += found.values * (leaf.length - 1);
    if (bytes > MOST_GROUP_BYTES || values > MOST_GROUP_VALUES) {
      throw new Error(`it has a group of rows of ${bytes} bytes and ${values} values, lists included`);
    }
    const isFlat = column.path_in_schema.length === 1;
    const rows = Number(num_rows);
    // A row has a value in every column at least, or a level in its stead.
    const isRight = isFlat ? rows === found.values : rows >= 0 && rows <= found.values;
    if (found.values !== Number(column.num_values) || !isRight) {
      throw new Error(
        `column ${quoted(column.path_in_schema.join("."))} has ${found.values} values in ${num_rows} rows`,
      );
    }
  }
}

/** Of each column, from the root on. */
const leavesOf = (schema: SchemaTree, above: readonly SchemaTree[] = []): SchemaTree[][] => {
  const path = [...above, schema];
  return schema.children.length === 0 ? [path] : schema.children.flatMap((child) => leavesOf(child, path));
};

/** It is made into objects as a whole. */
function checkFooter(descriptor: number): void {
  const { size } = fstatSync(descriptor);
  const end = Buffer.from(bytesOf(descriptor, Math.max(0, size - 8), size));
  const length = end.readUInt32LE();
  if (length > MOST_FOOTER_BYTES)
    throw new Error(`its description has ${length} bytes, expected at most ${MOST_FOOTER_BYTES}`);
  // The reader says what is wrong with the others.
  if (!end.subarray(4).equals(beginning) || length > size - 8) return;
  const { buffer, byteOffset, byteLength } = bytesOf(descriptor, size - 8 - length, size - 8);
  passStruct({ view: new DataView(buffer, byteOffset, byteLength), offset: 0 });
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const parsers = { stringFromBytes: (bytes: Uint8Array | undefined) => bytes && utf8.decode(bytes) };

/** Fields of one name in one record, at any depth. */
function repeatedColumn({ children }: SchemaTree): string | null {
  const names = new Set<string>();
  for (const child of children) {
    const { name } = child.element;
    const twice = names.has(name) ? name : repeatedColumn(child);
    if (twice !== null) return twice;
    names.add(name);
  }
  return null;
}

/** As JSON would have it. */
function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === "bigint") return Number(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Date) return value.toJSON();
  if (ArrayBuffer.isView(value)) return null;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
}
