/**
 * The header of a safetensors file, read as hostile input.
 *
 *   8 bytes   header length n, unsigned little-endian
 *   n bytes   JSON: { "__metadata__": {name: text}, name: { dtype, shape, data_offsets: [begin, end] }, … }
 *   the rest  tensor bytes; offsets count from here, and the tensors tile it without gap or overlap
 *
 * Nothing behind the header is read before the header is known to be sound, and everything wrong with it is said at
 * once. The rules are those of the reference implementation:
 * https://github.com/huggingface/safetensors (README and `safetensors/src/tensor.rs`).
 */

import { InputError, messageOf } from "../../base/errors.ts";
import { otherKind } from "../../base/file-kind.ts";
import { repeatedNames } from "../../base/json.ts";
import { show, throwMistakes } from "../../base/problem.ts";
import { quoted } from "../../base/text.ts";

/** Element types of the format that a reader here can hold, and their size in bytes. */
export const dtypeBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof dtypeBytes;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Product of `shape`. */
  readonly size: number;
  /** First byte, counted from the beginning of the file. */
  readonly start: number;
  /** `size` times the bytes of one element. */
  readonly bytes: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Longest header accepted, as in the reference implementation. */
const maxHeaderBytes = 100_000_000;

/**
 * The header's length from the first 8 bytes.
 *
 * @param prefix the beginning of the file: 8 bytes or more unless the file is shorter
 * @throws InputError if the file cannot hold such a header
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, file: string): number {
  if (prefix.length < 8) {
    throw new InputError(`${file}: not a safetensors file: expected at least 8 bytes, got ${prefix.length}`);
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  const kind = length > BigInt(Math.min(maxHeaderBytes, fileBytes - 8)) ? otherKind(prefix) : null;
  if (kind !== null) throw new InputError(`${file} is ${kind}`);
  if (length > BigInt(maxHeaderBytes)) {
    throw new InputError(`${file}: header length is ${length} bytes, expected at most ${maxHeaderBytes}`);
  }
  if (length > BigInt(fileBytes - 8)) {
    throw new InputError(`${file}: header length is ${length} bytes, but only ${fileBytes - 8} follow; truncated?`);
  }
  return Number(length);
}

/**
 * Reads the JSON of the header and checks every tensor against the file's length.
 *
 * @param json the bytes of the header, without its length
 * @throws InputError naming the file and everything wrong in it
 */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  const { text, parsed } = parseJson(json, file);
  const problems: string[] = [];
  for (const name of repeatedNames(text)) problems.push(`the name ${quoted(name)} occurs twice in the header`);

  const dataStart = 8 + json.length;
  const dataBytes = fileBytes - dataStart;
  const metadata = new Map<string, string>();
  const entries: TensorEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (name === "__metadata__") readMetadata(value, metadata, problems);
    else {
      const entry = readEntry(name, value, dataStart, dataBytes, problems);
      if (entry !== undefined) entries.push(entry);
    }
  }
  entries.sort((a, b) => a.start - b.start || a.bytes - b.bytes);
  // Gaps seen between the tensors that are left would only repeat what is already said of a broken one.
  if (problems.length === 0) checkTiling(entries, dataStart, dataBytes, problems);
  throwMistakes(file, problems);
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata };
}

function parseJson(json: Uint8Array, file: string): { text: string; parsed: object } {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json);
  } catch {
    throw new InputError(`${file}: the header is not UTF-8 text`);
  }
  // The format fixes the first byte, so that no other kind of file passes by accident.
  if (!text.startsWith("{"))
    throw new InputError(`${file}: the header begins with ${quoted(text[0] ?? "")}, expected "{"`);
  try {
    return { text, parsed: JSON.parse(text) as object };
  } catch (error) {
    throw new InputError(`${file}: the header is not JSON: ${messageOf(error)}`, { cause: error });
  }
}

function readMetadata(value: unknown, metadata: Map<string, string>, problems: string[]): void {
  if (!isRecord(value)) {
    problems.push(`__metadata__ is ${show(value)}, expected an object of texts`);
    return;
  }
  for (const [name, text] of Object.entries(value)) {
    if (typeof text === "string") metadata.set(name, text);
    else problems.push(`__metadata__.${name} is ${show(text)}, expected a text`);
  }
}

function readEntry(
  name: string,
  value: unknown,
  dataStart: number,
  dataBytes: number,
  problems: string[],
): TensorEntry | undefined {
  const where = `tensor ${quoted(name)}`;
  if (!isRecord(value)) {
    problems.push(`${where} is ${show(value)}, expected an object with dtype, shape and data_offsets`);
    return undefined;
  }
  const count = problems.length;
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    problems.push(`${where}: dtype is ${show(dtype)}, expected one of ${Object.keys(dtypeBytes).join(", ")}`);
  }
  if (!isLengths(shape)) problems.push(`${where}: shape is ${show(shape)}, expected up to 16 lengths ≥ 0`);
  if (!isLengths(offsets) || offsets.length !== 2) {
    problems.push(`${where}: data_offsets is ${show(offsets)}, expected [begin, end]`);
  }
  if (problems.length > count || !isDtype(dtype) || !isLengths(shape) || !isLengths(offsets)) return undefined;

  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    problems.push(`${where}: data_offsets is [${begin}, ${end}], expected begin ≤ end ≤ ${dataBytes} (bytes of data)`);
    return undefined;
  }
  // Exact even where a product of doubles would round.
  const expected = shape.reduce((size, length) => size * BigInt(length), BigInt(dtypeBytes[dtype]));
  if (expected !== BigInt(end - begin)) {
    const needs = `shape ${show(shape)} of ${dtype} needs ${expected} bytes`;
    problems.push(`${where}: ${needs}, but data_offsets [${begin}, ${end}] span ${end - begin}`);
    return undefined;
  }
  const bytes = end - begin;
  return { name, dtype, shape, size: bytes / dtypeBytes[dtype], start: dataStart + begin, bytes };
}

/** Tensors in the order of their bytes must follow each other exactly, to the end of the file. */
function checkTiling(entries: readonly TensorEntry[], dataStart: number, dataBytes: number, problems: string[]): void {
  let end = 0;
  let previous = "";
  for (const { name, start, bytes } of entries) {
    const begin = start - dataStart;
    if (begin < end)
      problems.push(`tensor ${quoted(name)} begins at ${begin}, inside ${quoted(previous)}, which ends at ${end}`);
    if (begin > end) problems.push(`tensor ${quoted(name)} begins at ${begin}, which leaves a gap from ${end}`);
    end = Math.max(end, begin + bytes);
    previous = name;
  }
  if (end !== dataBytes) problems.push(`the tensors end at ${end}, but the file has ${dataBytes} bytes of data`);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isDtype = (value: unknown): value is Dtype => typeof value === "string" && Object.hasOwn(dtypeBytes, value);

const isLengths = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= 16 && value.every((length) => Number.isSafeInteger(length) && length >= 0);
