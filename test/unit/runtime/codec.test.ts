import assert from "node:assert/strict";
import { test } from "node:test";
import { Packr } from "msgpackr";
import { InputError, InvariantError } from "../../../src/base/errors.ts";
import { decode, decodeUntrusted, encode } from "../../../src/runtime/messages/codec.ts";
import { inspect } from "../../../src/runtime/messages/plain.ts";

test("equal data give equal bytes, whatever was encoded before", () => {
  const before = encode({ round: 3, type: "train", values: Float32Array.of(1, 2) });
  for (let i = 0; i < 100; i++) encode({ [`field${i}`]: i });
  assert.deepEqual(encode({ round: 3, type: "train", values: Float32Array.of(1, 2) }), before);
});

test("bytes are a copy, not a view of a shared pool", () => {
  const first = encode({ n: 1 });
  const kept = first.slice();
  encode({ n: 2 });
  assert.deepEqual(first, kept);
  assert.equal(first.byteLength, first.buffer.byteLength);
});

test("large data are written as small ones are, and nothing is kept of the memory they were written to", () => {
  const plain = new Packr({ useRecords: false, variableMapSize: true, moreTypes: true, structuredClone: false });
  const value = { name: "x".repeat(10_000), parts: [new Float32Array(2_000_000).fill(0.5), Float64Array.of(1)] };
  const before = process.memoryUsage().arrayBuffers;
  const bytes = encode(value);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1.2 * bytes.length);
  assert.ok(Buffer.from(bytes).equals(plain.pack(value)));
  const kept = bytes.slice();
  encode({ n: 2 });
  assert.deepEqual(bytes, kept);
});

test("the sign of zero and the bits of a float survive", () => {
  const value = { zero: -0, list: [-0, 0], nan: NaN, floats: Float32Array.of(-0, NaN, 1e-45, 3.4e38) };
  const back = decode(encode(value)) as typeof value;
  assert.deepEqual(back, value);
  assert.ok(Object.is(back.zero, -0) && Object.is(back.list[0], -0) && Object.is(back.list[1], 0));
});

test("a view of part of a buffer comes back alone, and in memory of its own", () => {
  const whole = Float32Array.of(1, 2, 3, 4);
  const back = decode(encode(whole.subarray(1, 3))) as Float32Array;
  assert.deepEqual(back, Float32Array.of(2, 3));
  assert.equal(back.buffer.byteLength, 8);
});

test("what is not plain data is refused with the place it is at", () => {
  const cases: [value: unknown, message: RegExp][] = [
    [{ state: { clients: [1, new Map()] } }, /value\.state\.clients\[1\] is a Map/],
    [{ reply: () => 1 }, /value\.reply is a function/],
    [{ at: new Date(0) }, /value\.at is a Date/],
    [[1n], /value\[0\] is a bigint/],
    [{ bytes: Buffer.from("a") }, /value\.bytes is a Buffer/],
    [{ text: "half \ud800" }, /value\.text is text that UTF-8 cannot carry/],
    [JSON.parse('{"__proto__": 1}'), /value has the key "__proto__"/],
    [{ blob: { ref: "blob", bytes: 3 } }, /value\.blob is a damaged reference/],
  ];
  for (const [value, message] of cases) {
    assert.throws(() => encode(value), { name: "InvariantError", message });
  }
});

test("a cycle is an error and not an endless walk", () => {
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  assert.throws(() => encode(cycle), /nested deeper than 64/);
});

test("a walk finds each reference once", () => {
  const adapter = { ref: "blob", digest: "ab".repeat(32), bytes: 40 };
  const update = { ref: "pledge", id: 7, bytes: 12 };
  const { refs } = inspect({ adapter, again: [{ ...adapter }, update], ref: "not a reference" });
  assert.deepEqual(refs, [adapter, update]);
});

test("hostile msgpack is refused before msgpackr sees it", () => {
  const packed = (value: unknown, options = {}) => new Uint8Array(new Packr(options).pack(value));
  const deep = new Uint8Array(100).fill(0x91);
  const cases: [name: string, bytes: Uint8Array][] = [
    ["nothing", new Uint8Array(0)],
    ["a record", packed({ a: 1 })],
    ["a regular expression", packed(/x/, { moreTypes: true, useRecords: false })],
    ["an error", packed(new Error("x"), { moreTypes: true, useRecords: false })],
    ["a date", packed(new Date(), { useRecords: false })],
    ["a big integer", packed(2n ** 60n, { useRecords: false })],
    ["a set", packed(new Set([1]), { moreTypes: true, useRecords: false })],
    ["a back reference", Uint8Array.of(0xd6, 0x70, 0, 0, 0, 1)],
    ["a key that is a number", Uint8Array.of(0x81, 1, 2)],
    ["the key __proto__", Uint8Array.of(0x81, 0xa9, ...Buffer.from("__proto__"), 1)],
    ["deep nesting", deep],
    ["a list of four billion", Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff, 1)],
    ["a map of four billion", Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, 0x61, 1)],
    ["a string longer than the bytes", Uint8Array.of(0xdb, 0x7f, 0xff, 0xff, 0xff, 0x61)],
    ["half a float array", Uint8Array.of(0xc7, 4, 0x74, 7, 1, 2, 3)],
    ["a number cut short", Uint8Array.of(0xcb, 1, 2)],
    ["two values", Uint8Array.of(1, 2)],
    ["the unused token", Uint8Array.of(0xc1)],
  ];
  for (const [name, bytes] of cases) {
    assert.throws(() => decodeUntrusted(bytes, "envelope"), { name: "InputError", message: /^envelope / }, name);
  }
});

test("an error names what the bytes should have been and where they stop being it", () => {
  assert.throws(
    () => decodeUntrusted(encode({ a: [1, 2] }).subarray(0, 4), "state of client/c-003"),
    (error) => {
      assert.ok(error instanceof InputError && !(error instanceof InvariantError));
      assert.match(error.message, /^state of client\/c-003 is not what it claims to be: .* at byte 4 of 4$/);
      return true;
    },
  );
});
