/**
 * The gate before msgpackr for bytes of unknown origin: one pass that allocates nothing and lets through only what
 * `codec.ts` itself writes. Lengths must fit the bytes that are there, nesting is bounded, keys are strings other than
 * `__proto__`, and of the extensions only typed arrays, undefined and −0 exist: no records (they compile code), no
 * regular expressions, errors, dates, big integers or back references.
 */
import { InputError } from "../../base/errors.ts";
import { maxDepth, typedArrays } from "./plain.ts";

/** Extension type of −0; not used by msgpackr. */
export const negativeZeroType = 0x2d;

const typedArrayType = 0x74;

/** @throws InputError naming `source` and the offset of the first byte that should not be there */
export function assertBounded(bytes: Uint8Array, source: string): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Values still to come on each level, and whether the level is a map (then keys and values alternate). */
  const left = new Float64Array(maxDepth + 1);
  const isMap = new Uint8Array(maxDepth + 1);
  let depth = 0;
  let at = 0;
  left[0] = 1;

  const fail = (problem: string): never => {
    throw new InputError(`${source} is not what it claims to be: ${problem} at byte ${at} of ${bytes.length}`);
  };
  const need = (count: number): void => {
    if (count > bytes.length - at) fail(`${count} more bytes expected`);
  };
  const length = (size: 1 | 2 | 4): number => {
    need(1 + size);
    const value = size === 1 ? view.getUint8(at + 1) : size === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1);
    at += 1 + size;
    return value;
  };
  const skip = (count: number): void => {
    need(count);
    at += count;
  };
  const enter = (count: number, map: boolean): void => {
    // Every value takes at least a byte, so a count beyond the rest can never be met.
    need(count);
    if (++depth > maxDepth) fail(`nesting deeper than ${maxDepth}`);
    left[depth] = count;
    isMap[depth] = map ? 1 : 0;
  };
  const extension = (payload: number): void => {
    need(payload + 1);
    if (bytes[at] !== typedArrayType) fail(`extension ${bytes[at]}`);
    const array = payload > 0 ? typedArrays[bytes[at + 1]!] : undefined;
    if (array === undefined || (payload - 1) % array.BYTES_PER_ELEMENT !== 0) fail("a damaged typed array");
    at += payload + 1;
  };
  const key = (token: number): void => {
    const size = token >= 0xa0 && token < 0xc0 ? 0 : token === 0xd9 ? 1 : token === 0xda ? 2 : token === 0xdb ? 4 : -1;
    if (size < 0) fail("a key that is not a string");
    const count = size === 0 ? token - 0xa0 : length(size as 1 | 2 | 4);
    if (size === 0) at++;
    need(count);
    if (count === 9 && Buffer.from(bytes.buffer, bytes.byteOffset + at, 9).toString("latin1") === "__proto__") {
      fail('the key "__proto__"');
    }
    at += count;
  };

  for (;;) {
    while (depth >= 0 && left[depth] === 0) depth--;
    if (depth < 0) break;
    need(1);
    const token = bytes[at]!;
    if (isMap[depth] === 1 && left[depth]! % 2 === 0) {
      left[depth]!--;
      key(token);
      continue;
    }
    left[depth]!--;
    if (token < 0x80 || token >= 0xe0 || token === 0xc0 || token === 0xc2 || token === 0xc3) at++;
    else if (token < 0x90) {
      at++;
      enter(2 * (token - 0x80), true);
    } else if (token < 0xa0) {
      at++;
      enter(token - 0x90, false);
    } else if (token < 0xc0) skip(1 + token - 0xa0);
    else {
      switch (token) {
        case 0xc7:
        case 0xc8:
        case 0xc9:
          extension(length(token === 0xc7 ? 1 : token === 0xc8 ? 2 : 4));
          break;
        case 0xca:
        case 0xce:
        case 0xd2:
          skip(5);
          break;
        case 0xcb:
          skip(9);
          break;
        case 0xcc:
        case 0xd0:
          skip(2);
          break;
        case 0xcd:
        case 0xd1:
          skip(3);
          break;
        case 0xd4:
          need(3);
          if (bytes[at + 1] !== 0 && bytes[at + 1] !== negativeZeroType) fail(`extension ${bytes[at + 1]}`);
          at += 3;
          break;
        case 0xd9:
        case 0xda:
        case 0xdb:
          skip(length(token === 0xd9 ? 1 : token === 0xda ? 2 : 4));
          break;
        case 0xdc:
        case 0xdd:
          enter(length(token === 0xdc ? 2 : 4), false);
          break;
        case 0xde:
        case 0xdf:
          enter(2 * length(token === 0xde ? 2 : 4), true);
          break;
        default:
          fail(`unknown token ${token}`);
      }
    }
  }
  if (at !== bytes.length) fail("more bytes than expected");
}
