/**
 * The gate before msgpackr for bytes of unknown origin: one pass that allocates nothing and lets through only what
 * `codec.ts` itself writes. Lengths must fit the bytes that are there, nesting is bounded, keys are strings other than
 * `__proto__`, and of the extensions only typed arrays, undefined and −0 exist: no records (they compile code), no
 * regular expressions, errors, dates, big integers or back references.
 */
import { InputError } from "../../base/errors.ts";
import { maxDepth, typedArrays } from "./plain.ts";

/** Extension types of −0 and, between threads alone, of an array that lies apart; not used by msgpackr. */
export const negativeZeroType = 0x2d;
export const apartType = 0x2a;

const typedArrayType = 0x74;

type Form = "text" | "list" | "map" | "extension";

/** Tokens with a length behind them: how many bytes it has, and of what it is the length. */
const lengths = new Map<number, readonly [width: number, of: Form]>([
  ...[0xc7, 0xc8, 0xc9].map((token, i) => [token, [1 << i, "extension"]] as const),
  ...[0xd9, 0xda, 0xdb].map((token, i) => [token, [1 << i, "text"]] as const),
  ...[0xdc, 0xdd].map((token, i) => [token, [2 << i, "list"]] as const),
  ...[0xde, 0xdf].map((token, i) => [token, [2 << i, "map"]] as const),
]);

/** Bytes behind the tokens of null, booleans and numbers. */
const sizes = new Map([
  ...[0xc0, 0xc2, 0xc3].map((token) => [token, 0] as const),
  ...[0xca, 0xcb].map((token, i) => [token, 4 << i] as const),
  ...[0xcc, 0xcd, 0xce].map((token, i) => [token, 1 << i] as const),
  ...[0xd0, 0xd1, 0xd2].map((token, i) => [token, 1 << i] as const),
]);

/** @throws InputError naming `source` and the offset of the first byte that should not be there */
export function assertBounded(bytes: Uint8Array, source: string): void {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;

  const fail = (problem: string): never => {
    throw new InputError(`${source} is not what it claims to be: ${problem} at byte ${at} of ${bytes.length}`);
  };
  const need = (count: number): void => {
    if (count > bytes.length - at) fail(`${count} more bytes expected`);
  };
  const skip = (count: number): void => {
    need(count);
    at += count;
  };
  const token = (): number => {
    need(1);
    return bytes[at++]!;
  };

  const value = (depth: number): void => {
    const first = token();
    const size = sizes.get(first);
    if (first < 0x80 || first >= 0xe0) return;
    if (first < 0x90) content("map", first & 0x0f, depth);
    else if (first < 0xa0) content("list", first & 0x0f, depth);
    else if (first < 0xc0) skip(first & 0x1f);
    else if (size !== undefined) skip(size);
    else if (first === 0xd4) {
      need(2);
      if (bytes[at] !== 0 && bytes[at] !== negativeZeroType) fail(`extension ${bytes[at]}`);
      skip(2);
    } else {
      const [width, form] = lengths.get(first) ?? fail(`unknown token ${first}`);
      skip(width);
      content(form, view.readUIntBE(at - width, width), depth);
    }
  };

  const content = (form: Form, length: number, depth: number): void => {
    if (form === "text") skip(length);
    else if (form === "extension") typedArray(length);
    else {
      // Every value takes at least a byte, so a count beyond the rest can never be met.
      need(form === "map" ? 2 * length : length);
      if (depth === maxDepth) fail(`nesting deeper than ${maxDepth}`);
      for (let i = 0; i < length; i++) {
        if (form === "map") key();
        value(depth + 1);
      }
    }
  };

  const typedArray = (payload: number): void => {
    need(payload + 1);
    if (bytes[at] !== typedArrayType) fail(`extension ${bytes[at]}`);
    const array = payload > 0 ? typedArrays[bytes[at + 1]!] : undefined;
    if (array === undefined || (payload - 1) % array.BYTES_PER_ELEMENT !== 0) fail("a damaged typed array");
    skip(payload + 1);
  };

  const key = (): void => {
    const first = bytes[at]!;
    const [width, form] = (first & 0xe0) === 0xa0 ? [0, "text"] : (lengths.get(first) ?? [0, null]);
    if (form !== "text") fail("a key that is not a string");
    const from = at + 1 + width;
    value(maxDepth);
    if (at - from === 9 && view.toString("latin1", from, at) === "__proto__") fail('the key "__proto__"');
  };

  value(0);
  if (at !== bytes.length) fail("more bytes than expected");
}
