/**
 * Plain data: what messages, states and recipes are made of. Numbers, strings, booleans, null, undefined, arrays,
 * objects without a class, and typed arrays up to float64; anything else would come back from bytes as something else.
 */
import { InvariantError } from "../../base/errors.ts";
import { appended, none } from "./lists.ts";
import { type Held, sameRef } from "./refs.ts";

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

export interface Inspection {
  /** The distinct references in the value, in the order of their first appearance. */
  refs: Held[];
  hasNegativeZero: boolean;
}

/** Thrown inside the walk only; {@link inspect} turns it into an error that says where. */
const notPlain = new Error("not plain data");

const found: Inspection = { refs: none, hasNegativeZero: false };

/**
 * @returns valid until the next inspection
 * @throws InvariantError naming the first part of `value` that is not plain
 */
export function inspect(value: unknown): Inspection {
  found.refs = none;
  found.hasNegativeZero = false;
  try {
    visit(value, 0, found);
  } catch (error) {
    if (error !== notPlain) throw error;
    throw new InvariantError(`expected plain data, but ${offence(value, "value", 0)}`);
  }
  return found;
}

function visit(value: unknown, depth: number, found: Inspection): void {
  switch (typeof value) {
    case "number":
      if (Object.is(value, -0)) found.hasNegativeZero = true;
      return;
    case "string":
      if (!isCarriable(value)) throw notPlain;
      return;
    case "boolean":
    case "undefined":
      return;
    case "object":
      if (value === null) return;
      if (depth >= maxDepth) throw notPlain;
      if (Array.isArray(value)) for (const part of value) visit(part, depth + 1, found);
      else if (Object.getPrototypeOf(value) === Object.prototype) visitRecord(value, depth, found);
      else if (!typedPrototypes.has(Object.getPrototypeOf(value))) throw notPlain;
      return;
    default:
      throw notPlain;
  }
}

/** Lone surrogates have no UTF-8, and msgpackr's decoder drops a byte order mark at the head of a long string. */
const isCarriable = (text: string): boolean => text.isWellFormed() && text.charCodeAt(0) !== 0xfeff;

function visitRecord(value: object, depth: number, found: Inspection): void {
  const record = value as Record<string, unknown>;
  for (const key in record) {
    if (key === "__proto__" || !isCarriable(key)) throw notPlain;
    visit(record[key], depth + 1, found);
  }
  if (record.ref !== undefined && isHeld(record)) note(record, found);
}

function note(ref: Held, found: Inspection): void {
  if (found.refs.length === 0 || !found.refs.some((known) => sameRef(known, ref)))
    found.refs = appended(found.refs, ref);
}

/** A record whose field `ref` says what it is. */
function isHeld(record: Record<string, unknown>): record is Record<string, unknown> & Held {
  const { ref, bytes } = record;
  if (ref !== "blob" && ref !== "pledge") return false;
  const named = ref === "blob" ? typeof record.digest === "string" : Number.isSafeInteger(record.id);
  if (!named || typeof bytes !== "number" || !(bytes >= 0)) throw notPlain;
  return true;
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
    if (key === "__proto__" || !isCarriable(key)) return `${path} has the key ${JSON.stringify(key)}`;
    try {
      visit(part, depth + 1, { refs: none, hasNegativeZero: false });
    } catch {
      return offence(part, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`, depth + 1);
    }
  }
  return `${path} is a damaged reference`;
}
