/**
 * Records of a Parquet file, one group of rows after the other.
 *
 * The file is hostile until parsed: what a page says of its size is looked at before anything of that size is made.
 */
import { closeSync, fstatSync, readSync, statSync } from "node:fs";
import { brotliDecompressSync, crc32, gunzipSync } from "node:zlib";
import { decompress as unpackZstd } from "fzstd";
import {
  type AsyncBuffer,
  type Compressors,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type RowGroup,
  type SchemaTree,
} from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { InputError, messageOf } from "../base/errors.ts";
import { occursTwice } from "../base/json.ts";
import { openToRead } from "../base/open.ts";
import { show } from "../base/problem.ts";
import { quoted } from "../base/text.ts";

/** Of a page and of a group of rows, unpacked. Writers make pages of 1 MiB, and groups of some 100 MiB at most. */
const MOST_PAGE_BYTES = 2 ** 28;
const MOST_GROUP_BYTES = 2 ** 30;
const MOST_PAGE_VALUES = 2 ** 22;

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
    const metadata = await explained(name, () => parquetMetadataAsync(file));
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
function checkGroup(descriptor: number, { columns, num_rows }: RowGroup, leaves: readonly string[]): void {
  const paths = columns.map(({ meta_data }) => meta_data?.path_in_schema.join("\0"));
  if (paths.length !== leaves.length || leaves.some((leaf, at) => leaf !== paths[at])) {
    throw new Error("a group of rows has other columns than the schema");
  }
  let groupBytes = 0;
  for (const { meta_data: column } of columns) {
    if (column === undefined) throw new Error("it has a column without a description");
    const start = Number(column.dictionary_page_offset || column.data_page_offset);
    const bytes = bytesOf(descriptor, start, start + Number(column.total_compressed_size));
    const reader = { view: new DataView(bytes.buffer), offset: 0 };
    let values = 0;
    while (reader.offset < bytes.length) {
      const page = parquetHeader(reader);
      const { compressed_page_size: packed, uncompressed_page_size: unpacked, data_page_header: data } = page;
      if (!pageTypes.includes(page.type)) throw new Error(`it has a page of the type ${show(page.type)}`);
      const inData = data?.num_values ?? page.data_page_header_v2?.num_values ?? 0;
      const inPage = inData + (page.dictionary_page_header?.num_values ?? 0);
      groupBytes += unpacked;
      values += inData;
      if (!(packed >= 0 && reader.offset + packed <= bytes.length)) throw new Error("it has a page that does not end");
      if (!(unpacked >= 0 && unpacked <= MOST_PAGE_BYTES) || !(inPage >= 0 && inPage <= MOST_PAGE_VALUES)) {
        throw new Error(`it has a page of ${unpacked} bytes and ${inPage} values`);
      }
      const stored = bytes.subarray(reader.offset, reader.offset + packed);
      if (page.crc !== undefined && crc32(stored) !== page.crc >>> 0) throw new Error("a page has another checksum");
      reader.offset += packed;
    }
    if (groupBytes > MOST_GROUP_BYTES) throw new Error(`it has a group of rows of more than ${MOST_GROUP_BYTES} bytes`);
    const isFlat = column.path_in_schema.length === 1;
    if (values !== Number(column.num_values) || (isFlat && values !== Number(num_rows))) {
      throw new Error(`column ${quoted(column.path_in_schema.join("."))} has ${values} values in ${num_rows} rows`);
    }
  }
}

const pageTypes: readonly unknown[] = ["DATA_PAGE", "DATA_PAGE_V2", "DICTIONARY_PAGE"];

const leavesOf = ({ children, path }: SchemaTree): string[] =>
  children.length === 0 ? [path.join("\0")] : children.flatMap(leavesOf);

/** Beside Snappy, which comes with the reader. */
const compressors: Compressors = {
  GZIP: (input, length) => gunzipSync(input, { maxOutputLength: Math.max(length, 1) }),
  BROTLI: (input, length) => brotliDecompressSync(input, { maxOutputLength: Math.max(length, 1) }),
  ZSTD: (input, length) => unpackZstd(input, new Uint8Array(length)),
};

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
