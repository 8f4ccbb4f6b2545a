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
import { apartType, assertBounded, negativeZeroType } from "./scan.ts";

class NegativeZero {}
const negativeZero = new NegativeZero();

addExtension({
  Class: NegativeZero,
  type: negativeZeroType,
  pack: () => new Uint8Array(1) as Buffer,
  unpack: () => -0,
});

/** In the place of an array that does not lie among the bytes: its index among those that do not. */
class Apart {
  readonly at: number;

  constructor(at: number) {
    this.at = at;
  }
}

/** Of what is being decoded. */
let arraysApart: readonly Float32Array[] = [];

addExtension({
  Class: Apart,
  type: apartType,
  pack({ at }: Apart) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(at);
    return bytes;
  },
  unpack: (bytes) => arraysApart[new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)],
});

const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: true, structuredClone: false });

const scratch = Buffer.alloc(1 << 16);

/** Beyond so many bytes a value is written to memory of its own: msgpackr keeps the widest memory it was ever given. */
const large = 1 << 16;

/**
 * @param apart arrays in `value` that are left out of the bytes, to be handed to {@link decode} with them
 * @throws InvariantError when `value` is not plain data
 */
export function encode(value: unknown, apart: readonly Float32Array[] = []): Uint8Array<ArrayBuffer> {
  const inspection = inspect(value);
  const most = apart.reduce((length, { byteLength }) => length - byteLength, inspection.length);
  if (most < large) return new Uint8Array(packr.pack(packable(value, inspection, apart)));
  packr.useBuffer(Buffer.allocUnsafeSlow(most + scratch.length));
  try {
    const { buffer, byteOffset, length } = packr.pack(packable(value, inspection, apart));
    return new Uint8Array(buffer as ArrayBuffer, byteOffset, length);
  } finally {
    packr.useBuffer(scratch);
  }
}

const packable = (value: unknown, { hasNegativeZero }: Inspection, apart: readonly Float32Array[]): unknown =>
  hasNegativeZero || apart.length > 0 ? marked(value, apart) : value;

/** Decodes what {@link encode} wrote in this process or in a file whose checksum was right. */
export function decode(bytes: Uint8Array, apart: readonly Float32Array[] = []): unknown {
  arraysApart = apart;
  try {
    return packr.unpack(bytes);
  } finally {
    arraysApart = [];
  }
}

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

/** A copy with every −0, and every array that lies apart, replaced by what the extensions write. */
function marked(value: unknown, apart: readonly Float32Array[]): unknown {
  if (Object.is(value, -0)) return negativeZero;
  if (typeof value !== "object" || value === null) return value;
  if (ArrayBuffer.isView(value)) {
    const at = apart.indexOf(value as Float32Array);
    return at < 0 ? value : new Apart(at);
  }
  if (Array.isArray(value)) return value.map((part) => marked(part, apart));
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, marked(part, apart)]));
}
