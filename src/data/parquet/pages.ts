/**
 * What the pages of a Parquet column say of themselves, held against what is in them, before a reader that believes them
 * makes anything of that size.
 */
import { brotliDecompressSync, crc32, gunzipSync } from "node:zlib";
import { decompress as unpackZstd } from "fzstd";
import type { ColumnMetaData, Compressors, DataReader, PageHeader, SchemaTree } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { decompressPage } from "hyparquet/src/datapage.js";
import { deltaBinaryUnpack } from "hyparquet/src/delta.js";
import { readRleBitPackedHybrid } from "hyparquet/src/encoding.js";
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from "hyparquet/src/schema.js";
import { readVarInt } from "hyparquet/src/thrift.js";
import { show } from "../../base/problem.ts";
import { passStruct } from "./thrift.ts";

/** Of a page, unpacked. Writers make pages of 1 MiB. */
const MOST_PAGE_BYTES = 2 ** 28;
const MOST_PAGE_VALUES = 2 ** 22;
/** Of a page's header, which may quote the smallest and the largest of its values. */
const MOST_HEADER_BYTES = 2 ** 20;

/** Beside Snappy, which comes with the reader. */
export const compressors: Compressors = {
  GZIP: (input, length) => gunzipSync(input, { maxOutputLength: Math.max(length, 1) }),
  BROTLI: (input, length) => brotliDecompressSync(input, { maxOutputLength: Math.max(length, 1) }),
  ZSTD: (input, length) => unpackZstd(input, new Uint8Array(length)),
};

interface Sizes {
  /** Unpacked, or what is made of it where that is more. */
  readonly bytes: number;
  /** Nulls included; those of a dictionary are not. */
  readonly values: number;
}

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * @param chunk all pages of the column in a group of rows
 * @param path from the root of the schema to the column
 * @throws Error for a page that claims what it does not hold
 */
export function sizesOf(chunk: Bytes, { codec }: ColumnMetaData, path: SchemaTree[]): Sizes {
  let [bytes, values] = [0, 0];
  for (let at = 0; at < chunk.length; ) {
    const start = chunk.byteOffset + at;
    const view = new DataView(chunk.buffer, start, Math.min(MOST_HEADER_BYTES, chunk.length - at));
    const reader = { view, offset: 0 };
    passStruct({ ...reader });
    const page = parquetHeader(reader);
    at += reader.offset;
    checkHeader(page, chunk.length - at);
    const stored = chunk.subarray(at, at + page.compressed_page_size);
    if (page.crc !== undefined && crc32(stored) !== page.crc >>> 0) throw new Error("a page has another checksum");
    const unpack = (packed: Bytes, length: number) => decompressPage(packed, length, codec, compressors);
    values += (page.data_page_header ?? page.data_page_header_v2)?.num_values ?? 0;
    bytes += page.uncompressed_page_size + copiedIn(page, stored, unpack, path);
    at += stored.length;
  }
  return { bytes, values };
}

function checkHeader(page: PageHeader, left: number): void {
  const { type, compressed_page_size: packed, uncompressed_page_size: unpacked } = page;
  const { data_page_header: data, data_page_header_v2: second, dictionary_page_header: dictionary } = page;
  if (!["DATA_PAGE", "DATA_PAGE_V2", "DICTIONARY_PAGE"].includes(type)) {
    throw new Error(`it has a page of the type ${show(type)}`);
  }
  const headers = { DATA_PAGE: data, DATA_PAGE_V2: second, DICTIONARY_PAGE: dictionary } as const;
  const found = Object.values(headers).filter((header) => header !== undefined);
  if (found.length !== 1 || headers[type as keyof typeof headers] === undefined) {
    throw new Error(`it has a page of the type ${type} that is described as another`);
  }
  if (!isWithin(packed, left)) throw new Error("it has a page that does not end");
  for (const values of [data?.num_values, second?.num_values, dictionary?.num_values]) {
    if (isWithin(unpacked, MOST_PAGE_BYTES) && isWithin(values ?? 0, MOST_PAGE_VALUES)) continue;
    throw new Error(`it has a page of ${unpacked} bytes and ${values} values`);
  }
  if (second === undefined) return;
  const { definition_levels_byte_length: definition, repetition_levels_byte_length: repetition } = second;
  const levels = isWithin(definition, packed) && isWithin(repetition, packed) ? definition + repetition : Infinity;
  if (levels > Math.min(packed, unpacked)) throw new Error("it has a page with levels that do not end");
  const { num_values, num_nulls, num_rows } = second;
  if (!isWithin(num_nulls, num_values) || !isWithin(num_rows, num_values)) {
    throw new Error(`it has a page of ${num_values} values, with ${num_nulls} nulls in ${num_rows} rows`);
  }
}

const isWithin = (value: number, most: number): boolean => Number.isInteger(value) && value >= 0 && value <= most;

type Unpack = (packed: Bytes, length: number) => Uint8Array;

/** Looks through levels and indices. @returns the bytes of texts that share their beginnings, which are copied */
function copiedIn(page: PageHeader, stored: Bytes, unpack: Unpack, path: SchemaTree[]): number {
  const { data_page_header: first, data_page_header_v2: second } = page;
  const [repetition, definition] = [getMaxRepetitionLevel(path), getMaxDefinitionLevel(path)];
  if (first !== undefined) {
    const reader = readerOf(unpack(stored, page.uncompressed_page_size));
    levelsIn(reader, repetition, first.num_values);
    const levels = levelsIn(reader, definition, first.num_values);
    const nulls = levels.filter((level) => level !== definition).length;
    return copiedValues(reader, first.encoding, first.num_values - nulls, path, true);
  }
  if (second === undefined) return 0;
  const { repetition_levels_byte_length: before, definition_levels_byte_length: between } = second;
  levelsIn(readerOf(stored), repetition, second.num_values, before);
  levelsIn(readerOf(stored.subarray(before)), definition, second.num_values, between);
  const rest = stored.subarray(before + between);
  const length = page.uncompressed_page_size - before - between;
  const values = second.is_compressed !== false && length > 0 ? unpack(rest, length) : rest;
  return copiedValues(readerOf(values), second.encoding, second.num_values - second.num_nulls, path, false);
}

const readerOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataReader => ({
  view: new DataView(buffer, byteOffset, byteLength),
  offset: 0,
});

/** @param bytes of the levels; they are preceded by their number unless given */
function levelsIn(reader: DataReader, most: number, count: number, bytes?: number): number[] {
  if (most === 0) return [];
  const width = 32 - Math.clz32(most);
  checkRuns({ ...reader, offset: reader.offset + (bytes === undefined ? 4 : 0) }, width, count);
  const levels = new Array<number>(count);
  readRleBitPackedHybrid(reader, width, levels, bytes);
  return levels;
}

function copiedValues(
  reader: DataReader,
  encoding: string,
  count: number,
  path: SchemaTree[],
  isFirst: boolean,
): number {
  if (encoding === "DELTA_BYTE_ARRAY") return sharedBytes(reader, count);
  if (encoding.startsWith("DELTA_") && count > 0) checkDeltas(reader);
  if (encoding === "BYTE_STREAM_SPLIT") {
    const left = reader.view.byteLength - reader.offset;
    const { type, type_length: width = /^(INT32|FLOAT)$/.test(type ?? "") ? 4 : 8 } = path.at(-1)!.element;
    if (count * width > left) throw new Error(`it has a page of ${count} values of ${width} bytes in ${left}`);
  }
  if (!["RLE", "PLAIN_DICTIONARY", "RLE_DICTIONARY"].includes(encoding)) return 0;
  // Truth values have their length in front, indices the number of their bits.
  const isTruth = isFirst ? path.at(-1)!.element.type === "BOOLEAN" : encoding === "RLE";
  const width = isTruth ? 1 : reader.view.getUint8(reader.offset);
  reader.offset += isTruth ? 4 : 1;
  // Where all indices are 0 the first version has no runs.
  if (width > 0 || !isFirst) checkRuns(reader, width, count);
  return 0;
}

/** The reader makes as many values of a run as the run claims, whatever the page has room for. */
function checkRuns(reader: DataReader, width: number, count: number): void {
  for (let seen = 0; seen < count; ) {
    const header = readVarInt(reader);
    const isPacked = (header & 1) === 1;
    const values = isPacked ? 8 * (header >>> 1) : header >>> 1;
    // Packed ones may be filled up, by DuckDB to 256 of them, and the reader leaves those out.
    const most = isPacked ? MOST_PAGE_VALUES : count - seen;
    if (values > most) throw new Error(`it has a page with a run of ${values} values where ${count - seen} are left`);
    reader.offset += isPacked ? (header >>> 1) * width : (width + 7) >> 3;
    seen += values;
  }
}

/** Differences come in blocks, whose parts have whole bytes; the reader goes backwards over others, and for ever. */
function checkDeltas(reader: DataReader): void {
  const ahead = { ...reader };
  const [block, parts] = [readVarInt(ahead), readVarInt(ahead)];
  if (block > 0 && parts > 0 && block % (8 * parts) === 0) return;
  throw new Error(`it has differences in blocks of ${block} values in ${parts} parts`);
}

/** Each text says how much it takes over from the one before, and what follows. @returns the bytes of all of them */
function sharedBytes(reader: DataReader, count: number): number {
  const [shared, own] = [new Int32Array(count), new Int32Array(count)];
  for (const numbers of [shared, own]) {
    if (count > 0) checkDeltas(reader);
    deltaBinaryUnpack(reader, count, numbers);
  }
  let [bytes, before] = [0, 0];
  for (const [at, length] of own.entries()) {
    const taken = shared[at]!;
    if (!isWithin(taken, before) || length < 0)
      throw new Error(`it has a text that takes over ${taken} of ${before} bytes`);
    before = taken + length;
    bytes += before;
    if (bytes > MOST_PAGE_BYTES) throw new Error(`it has a page with texts of more than ${MOST_PAGE_BYTES} bytes`);
  }
  return bytes;
}
