/**
 * Descriptions in a Parquet file are structures of Thrift's compact protocol. Whoever reads one makes a list of the size that
 * it claims before there is an element, and lists lie in lists: so they are walked through first, and nothing is made of them.
 */
import type { DataReader } from "hyparquet";
import { readVarInt } from "hyparquet/src/thrift.js";

const MOST_DEPTH = 32;

function byte({ view }: DataReader, at: number): number {
  if (at >= view.byteLength) throw new Error("its description does not end");
  return view.getUint8(at);
}

/**
 * Goes on to the end of a structure.
 *
 * @throws Error where it does not end, a list claims more elements than there are bytes, or structures lie too deep in others
 */
export function passStruct(reader: DataReader, depth = 0): void {
  if (depth > MOST_DEPTH) throw new Error(`its description is more than ${MOST_DEPTH} structures deep`);
  for (;;) {
    const field = byte(reader, reader.offset++);
    if ((field & 15) === 0) return;
    // Without a step from the field before, its number follows.
    if (field >> 4 === 0) passVarInt(reader);
    pass(reader, field & 15, depth);
  }
}

function pass(reader: DataReader, type: number, depth: number): void {
  // Truth values are their type.
  if (type === 1 || type === 2) return;
  if (type === 3) skip(reader, 1);
  else if (type <= 6) passVarInt(reader);
  else if (type === 7) skip(reader, 8);
  else if (type === 8) skip(reader, readVarInt(reader));
  else if (type === 9) passList(reader, depth + 1);
  else if (type === 12) passStruct(reader, depth + 1);
  else throw new Error(`its description has a value of the unknown type ${type}`);
}

function passList(reader: DataReader, depth: number): void {
  if (depth > MOST_DEPTH) throw new Error(`its description is more than ${MOST_DEPTH} structures deep`);
  const head = byte(reader, reader.offset++);
  const [type, size] = [head & 15, head >> 4 === 15 ? readVarInt(reader) : head >> 4];
  const left = reader.view.byteLength - reader.offset;
  // Truth values in lists have no bytes to the reader, and no description has them.
  if (size < 0 || size > left || (size > 0 && type < 3)) {
    throw new Error(`its description has a list of ${size} values of type ${type} in ${left} bytes`);
  }
  for (let at = 0; at < size; at++) pass(reader, type, depth);
}

/** Of any length: numbers of 64 bits have ten bytes. */
function passVarInt(reader: DataReader): void {
  while (byte(reader, reader.offset++) & 128);
}

function skip(reader: DataReader, bytes: number): void {
  if (bytes < 0 || bytes > reader.view.byteLength - reader.offset) throw new Error("its description does not end");
  reader.offset += bytes;
}
