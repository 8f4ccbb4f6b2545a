/**
 * Plain data: what messages, states and recipes are made of. Numbers, strings, booleans, null, undefined, arrays,
 * objects without a class, and typed arrays up to float64; anything else would come back from bytes as something else.
 *
 * One walk checks that a value is plain, finds the references in it, and computes the exact size of its msgpack
 * encoding. A message that stays on this thread is therefore metered without being encoded.
 */
import { InvariantError } from "../../base/errors.ts";
import type { Held } from "./refs.ts";
import { sameRef } from "./refs.ts";

/** Deepest nesting of arrays and objects; a cycle is deeper than any. */
export const maxDepth = 64;

/** In the order of msgpackr's type codes, without the BigInt arrays. */
export const typedArrays = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
] as const;

const typedPrototypes = new Set<unknown>(typedArrays.map(({ prototype }) => prototype));

/** The distinct references in a value, in the order of their first appearance. */
export class References {
  #list: readonly Held[] = nothing;
  /** The list taken last: in a row of messages that refer to the same thing they share it. */
  #last: readonly Held[] = nothing;

  get list(): readonly Held[] {
    return this.#list;
  }

  /** Forgets what a walk found that did not come to its end. */
  clear(): void {
    this.#list = nothing;
  }

  /** The list, and begins a new one. */
  take(): readonly Held[] {
    this.#last = this.#list;
    this.#list = nothing;
    return this.#last;
  }

  /** Mostly there are none or one, and an empty array that grows takes room for 17. */
  add(ref: Held): void {
    if (this.#list === nothing) this.#list = this.#last.length === 1 && this.#last[0] === ref ? this.#last : [ref];
    else if (!this.#list.some((known) => sameRef(known, ref))) this.#list = [...this.#list, ref];
  }
}

const nothing: Held[] = [];

/** Thrown inside the walk only; {@link measure} turns it into an error that says where. */
const notPlain = new Error("not plain data");

/**
 * @param refs receives the references in `value`
 * @returns bytes of the msgpack encoding
 * @throws InvariantError naming the first part of `value` that is not plain
 */
export function measure(value: unknown, refs: References): number {
  try {
    return sizeOf(value, 0, refs);
  } catch (error) {
    if (error !== notPlain) throw error;
    throw new InvariantError(`expected plain data, but ${offence(value, "value", 0)}`);
  }
}

export function numberSize(value: number): number {
  if (value >>> 0 === value) {
    if (value === 0) return Object.is(value, -0) ? 3 : 1;
    return value < 0x80 ? 1 : value < 0x100 ? 2 : value < 0x10000 ? 3 : 5;
  }
  if (value >> 0 === value) return value >= -0x20 ? 1 : value >= -0x80 ? 2 : value >= -0x8000 ? 3 : 5;
  return 9;
}

/** Sizes of the words that come again and again: keys, kinds of actors, legs. */
const wordSizes = new Map<string, number>();
/** The first few of them, found faster by looking at each than by a hash. */
const firstWords: string[] = [];
const firstSizes: number[] = [];

/** {@link stringSize} of a word from a small vocabulary. */
export function wordSize(word: string): number {
  for (let i = 0; i < firstWords.length; i++) if (firstWords[i] === word) return firstSizes[i]!;
  const known = wordSizes.get(word);
  if (known !== undefined) return known;
  const size = stringSize(word);
  if (firstWords.length < 8 && word.length < 16) {
    firstWords.push(word);
    firstSizes.push(size);
    return size;
  }
  // Keys may be data, too; then the words of the messages come back into an empty table soon enough.
  if (wordSizes.size >= 1_000) wordSizes.clear();
  wordSizes.set(word, size);
  return size;
}

export function stringSize(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) {
      bytes = utf8Length(text);
      break;
    }
  }
  return bytes + (bytes < 0x20 ? 1 : bytes < 0x100 ? 2 : bytes < 0x10000 ? 3 : 5);
}

/** {@link measure} within its walk: whoever calls it turns what it throws into words. */
export function sizeOf(value: unknown, depth: number, refs: References): number {
  switch (typeof value) {
    case "number":
      return numberSize(value);
    case "string":
      return stringSize(value);
    case "boolean":
      return 1;
    case "undefined":
      return 3;
    case "object":
      if (value === null) return 1;
      if (depth >= maxDepth) throw notPlain;
      if (Array.isArray(value)) {
        let bytes = value.length < 0x10 ? 1 : value.length < 0x10000 ? 3 : 5;
        for (let i = 0; i < value.length; i++) bytes += sizeOf(value[i], depth + 1, refs);
        return bytes;
      }
      return objectSize(value, depth, refs);
    default:
      throw notPlain;
  }
}

function objectSize(value: object, depth: number, refs: References): number {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype) {
    if (!ArrayBuffer.isView(value) || !typedPrototypes.has(prototype)) throw notPlain;
    const payload = value.byteLength + 1;
    return value.byteLength + (payload < 0x100 ? 4 : payload < 0x10000 ? 5 : 7);
  }
  const record = value as Record<string, unknown>;
  let bytes = 0;
  let keys = 0;
  let refers = false;
  for (const key in record) {
    if (key === "ref") refers = true;
    else if (key === "__proto__") throw notPlain;
    bytes += wordSize(key) + sizeOf(record[key], depth + 1, refs);
    keys++;
  }
  if (refers && isHeld(record)) refs.add(record);
  return bytes + (keys < 0x10 ? 1 : keys < 0x10000 ? 3 : 5);
}

/** A record whose field `ref` says what it is. */
export function isHeld(record: Record<string, unknown>): record is Record<string, unknown> & Held {
  const { ref, bytes } = record;
  if (ref !== "blob" && ref !== "pledge") return false;
  const named = ref === "blob" ? typeof record.digest === "string" : Number.isSafeInteger(record.id);
  if (!named || typeof bytes !== "number" || !(bytes >= 0)) throw notPlain;
  return true;
}

/** Lone surrogates have no UTF-8, and msgpackr's decoder drops a byte order mark at the head of a long string. */
function utf8Length(text: string): number {
  if (text.charCodeAt(0) === 0xfeff || /\p{Surrogate}/u.test(text)) throw notPlain;
  return Buffer.byteLength(text);
}

function offence(value: unknown, path: string, depth: number): string {
  if (typeof value === "string")
    return `${path} is text that UTF-8 cannot carry: ${JSON.stringify(value.slice(0, 40))}`;
  if (typeof value !== "object" || value === null) return `${path} is a ${typeof value}`;
  if (depth >= maxDepth) return `${path.slice(0, 80)}… is nested deeper than ${maxDepth}`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype) {
    return `${path} is ${value.constructor === undefined ? "without a prototype" : `a ${value.constructor.name}`}`;
  }
  for (const [key, part] of Object.entries(value)) {
    try {
      sizeOf(key, 0, new References());
      if (key === "__proto__") throw notPlain;
    } catch {
      return `${path} has the key ${JSON.stringify(key)}`;
    }
    try {
      sizeOf(part, depth + 1, new References());
    } catch {
      return offence(part, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, depth + 1);
    }
  }
  return `${path} is a damaged reference`;
}
