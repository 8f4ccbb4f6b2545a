import assert from "node:assert/strict";
import { test } from "node:test";
import { BlobStore } from "../../src/runtime/blobs.ts";
import { decode, encode } from "../../src/runtime/codec.ts";
import { InlinePool } from "../../src/runtime/inline-pool.ts";
import { PledgeBook, type PledgeState } from "../../src/runtime/pledges.ts";
import type { BlobRef, PledgeRef } from "../../src/runtime/refs.ts";

/** A pool that counts how often each seed is worked on. */
function openBook() {
  const worked: number[] = [];
  const pool = new InlinePool({
    double: ({ values, seed }: { values: BlobRef; seed: number }, blobs) => {
      worked.push(seed);
      return { values: blobs.floats(values).map((value) => 2 * value + seed) };
    },
    fail: () => {
      throw new Error("the loss is not a number");
    },
  });
  const blobs = new BlobStore();
  const book = new PledgeBook(pool, blobs);
  const values = blobs.put(Float32Array.of(1, 2));
  const pledge = (seed: number): PledgeRef => {
    const ref = book.pledge({ work: "double", job: { values, seed }, bytes: 8 });
    book.retain(ref);
    return ref;
  };
  return { pool, blobs, book, values, pledge, worked };
}

test("a pledge nobody opens costs nothing", async () => {
  const { book, pledge, worked, pool, blobs } = openBook();
  const refs = [1, 2, 3].map(pledge);
  await book.open([refs[1]!]);
  for (const ref of refs) book.release(ref);
  await pool.close();
  assert.deepEqual(worked, [2]);
  assert.deepEqual(book.counts, { begun: 1, opened: 1, discarded: 2 });
  assert.equal(blobs.count, 0);
});

test("results come in the order in which they were asked for", async () => {
  const { book, pledge } = openBook();
  const [a, b, c] = [10, 20, 30].map(pledge);
  const values = await book.open([c!, a!, b!]);
  assert.deepEqual(
    values.map((result) => (result as { values: Float32Array }).values[0]),
    [32, 12, 22],
  );
});

test("opening twice, or after a start, works once", async () => {
  const { book, pledge, worked } = openBook();
  const ref = pledge(5);
  book.start(ref);
  const [first] = await book.open([ref]);
  const [second, third] = await book.open([ref, ref]);
  assert.deepEqual(worked, [5]);
  assert.equal(second, first);
  assert.equal(third, first);
});

test("work that waits for a free worker is not begun once nobody wants it", async () => {
  const { book, pledge, worked, pool } = openBook();
  const [wanted, unwanted] = [1, 2].map(pledge);
  book.start(wanted!);
  book.start(unwanted!);
  book.release(unwanted!);
  await book.open([wanted!]);
  await pool.close();
  assert.deepEqual(worked, [1]);
});

test("a pledge holds the blobs it will read until it is opened or dropped", async () => {
  const { book, blobs, values, pledge } = openBook();
  const [opened, dropped] = [1, 2].map(pledge);
  await book.open([opened!]);
  assert.ok(blobs.has(values));
  book.release(dropped!);
  assert.ok(!blobs.has(values));
  assert.equal(book.outstanding, 1);
});

test("a failure of the work shows when the pledge is opened, with its own message", async () => {
  const { book } = openBook();
  const ref = book.pledge({ work: "fail", job: {}, bytes: 1 });
  book.start(ref);
  await assert.rejects(book.open([ref]), { message: "the loss is not a number" });
});

test("a dropped pledge cannot be opened", async () => {
  const { book, pledge } = openBook();
  const ref = pledge(1);
  book.release(ref);
  await assert.rejects(book.open([ref]), /pledge 0 is gone: nobody held it any more/);
});

test("a recipe cannot depend on another pledge", () => {
  const { book, pledge } = openBook();
  assert.throws(
    () => book.pledge({ work: "double", job: { values: pledge(1) }, bytes: 8 }),
    /the job of "double" refers to a pledge/,
  );
});

test("a snapshot has opened results as they are, and of work begun only the recipe", async () => {
  const before = openBook();
  const [opened, started] = [1, 2].map(before.pledge);
  before.book.start(started!);
  const [result] = await before.book.open([opened!]);
  const bytes = encode({ book: before.book.snapshot(), blobs: before.blobs.snapshot() });
  const { book, blobs } = decode(bytes) as { book: PledgeState; blobs: ReturnType<BlobStore["snapshot"]> };
  const after = openBook();
  after.blobs.restore(blobs);
  after.book.restore(book);
  assert.deepEqual(await after.book.open([opened!, started!]), [result, { values: Float32Array.of(4, 6) }]);
  assert.deepEqual(after.worked, [2]);
  after.blobs.put(Float32Array.of(1, 2));
  assert.equal(after.pledge(3).id, 2);
});
