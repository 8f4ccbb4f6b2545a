import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { InputError, MachineError } from "../../../src/base/errors.ts";
import { BlobStore } from "../../../src/runtime/messages/blobs.ts";
import { decode, encode } from "../../../src/runtime/messages/codec.ts";

test("content is named by its SHA-256 and stored once", () => {
  const blobs = new BlobStore();
  const first = blobs.put(Float32Array.of(1, 2, 3));
  const again = blobs.put(Float32Array.of(1, 2, 3));
  const asBytes = blobs.put(new Uint8Array(Float32Array.of(1, 2, 3).buffer));
  const digest = createHash("sha256")
    .update(new Uint8Array(Float32Array.of(1, 2, 3).buffer))
    .digest("hex");
  assert.deepEqual(first, { ref: "blob", digest, bytes: 12 });
  assert.deepEqual([again, asBytes], [first, first]);
  assert.equal(blobs.count, 1);
  assert.equal(blobs.size, 12);
});

test("reading gives the shared memory itself", () => {
  const blobs = new BlobStore();
  const source = Float32Array.of(1, 2);
  const ref = blobs.put(source);
  assert.ok(blobs.floats(ref).buffer instanceof SharedArrayBuffer);
  assert.equal(blobs.floats(ref).buffer, blobs.bytes(ref).buffer);
  source[0] = 9;
  assert.equal(blobs.floats(ref)[0], 1);
});

test("content goes when its last holder lets go, and not before", () => {
  const blobs = new BlobStore();
  const ref = blobs.put(Uint8Array.of(1, 2, 3));
  blobs.retain(ref);
  blobs.retain(ref);
  blobs.release(ref);
  blobs.drop(ref);
  assert.ok(blobs.has(ref));
  blobs.release(ref);
  assert.ok(!blobs.has(ref));
  assert.equal(blobs.size, 0);
  assert.throws(() => blobs.bytes(ref), /blob [0-9a-f]{12} \(3 B\) is gone: nobody held it any more/);
});

test("letting go more often than holding is a bug", () => {
  const blobs = new BlobStore();
  assert.throws(() => blobs.release(blobs.put(Uint8Array.of(1))), /released more often than it was retained/);
});

test("bytes that are not whole floats cannot be read as floats", () => {
  const blobs = new BlobStore();
  assert.throws(() => blobs.floats(blobs.put(Uint8Array.of(1, 2, 3))), /has 3 bytes, expected a multiple of 4/);
});

test("memory that no longer matches its digest is a failure of the machine", () => {
  const blobs = new BlobStore();
  const ref = blobs.put(Float32Array.of(1, 2));
  blobs.verify(ref);
  blobs.bytes(ref)[3]! ^= 1;
  assert.throws(() => blobs.verify(ref), MachineError);
});

test("a store comes back from a snapshot with its holders; content that was changed meanwhile does not", () => {
  const blobs = new BlobStore();
  const ref = blobs.put(Float32Array.of(1, 2));
  blobs.retain(ref);
  const bytes = encode(blobs.snapshot());
  const other = new BlobStore();
  other.restore(decode(bytes) as ReturnType<BlobStore["snapshot"]>);
  assert.deepEqual(other.floats(ref), blobs.floats(ref));
  other.release(ref);
  assert.equal(other.count, 0);
  const [record] = decode(bytes) as ReturnType<BlobStore["snapshot"]>;
  record!.content[0]! ^= 1;
  assert.throws(() => other.restore([record!]), InputError);
});
