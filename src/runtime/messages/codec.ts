/**
 * Plain data as msgpack bytes and back, exactly: messages, states, tasks and their results, checkpoints.
 *
 * msgpackr's defaults corrupt typed arrays (`moreTypes` keeps them), write objects as records that depend on what was
 * written before (switched off, so equal data give equal bytes), lose the sign of −0 (an extension keeps it), and hand
 * out views of a shared pool (copied here).
 */
import { addExtension, Packr } from "msgpackr";
import { InputError, messageOf } from "../../base/errors.ts";
import { type Inspection, inspect } from "./plain.ts";
import { assertBounded, negativeZeroType } from "./scan.ts";

class NegativeZero {}
const negativeZero = new NegativeZero();

addExtension({
  Class: NegativeZero,
  type: negativeZeroType,
  pack: () => new Uint8Array(1) as Buffer,
  unpack: () => -0,
});

const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: true, structuredClone: false });

const scratch = Buffer.alloc(1 << 16);

/** Beyond so many bytes a value is written to memory of its own: msgpackr keeps the widest memory it was ever given. */
const large = 1 << 16;

/** @throws InvariantError when `value` is not plain data */
export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  const inspection = inspect(value);
  if (inspection.length < large) return new Uint8Array(packr.pack(packable(value, inspection)));
  packr.useBuffer(Buffer.allocUnsafeSlow(inspection.length + scratch.length));
  try {
    const { buffer, byteOffset, length } = packr.pack(packable(value, inspection));
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, length);
  } finally {
    packr.useBuffer(scratch);
  }
}

const packable = (value: unknown, { hasNegativeZero }: Inspection): unknown =>
  hasNegativeZero ? marked(value) : value;

/** Decodes what {@link encode} wrote in this process or in a file whose checksum was right. */
export const decode = (bytes: Uint8Array): unknown => packr.unpack(bytes);

/**
 * Decodes bytes of any origin.
 *
 * @param source what the bytes claim to be, for the error
 * @throws InputError and nothing else, without allocating much more than the bytes themselves hold
 */
export function decodeUntrusted(bytes: Uint8Array, source: string): unknown {
  assertBounded(bytes, source);
  try {
    return decode(bytes);
  } catch (error) {
    throw new InputError(`${source} is not msgpack: ${messageOf(error)}`, { cause: error });
  }
}

/** A copy with every −0 replaced by what the extension writes. */
function marked(value: unknown): unknown {
  if (Object.is(value, -0)) return negativeZero;
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(marked);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, marked(part)]));
}
