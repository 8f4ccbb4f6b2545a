import assert from "node:assert/strict";
import { test } from "node:test";
import { BlobStore } from "../../../src/runtime/messages/blobs.ts";
import { decode, encode } from "../../../src/runtime/messages/codec.ts";
import type { BlobRef, PledgeRef } from "../../../src/runtime/messages/refs.ts";
import { type Gathering, PledgeBook, type PledgeState } from "../../../src/runtime/pledges.ts";
import { InlinePool } from "../../../src/runtime/pools/inline-pool.ts";

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

/** A pool that doubles numbers, several at a time, and a book that asks for them by pairs of one parity. */
function openGatheringBook() {
  const tasks: number[][] = [];
  const problems: string[] = [];
  const pool = new InlinePool({
    double: ({ seed }: { seed: number }) => 2 * seed,
    doubleAll: ({ jobs }: { jobs: { values: BlobRef; seed: number }[] }, blobs) => {
      tasks.push(jobs.map(({ seed }) => seed));
      if (jobs.some(({ seed }) => seed === 13)) throw new Error("thirteen");
      return {
        results: jobs.map(({ values, seed }) => blobs.floats(values)[0]! * seed),
        problems: jobs.length > 1 ? [`${jobs.length} at once`] : [],
      };
    },
  });
  const blobs = new BlobStore();
  const gathering: Gathering = {
    work: "double",
    together: "doubleAll",
    group(jobs) {
      const seeds = jobs.map((job) => (job as { seed: number }).seed);
      const ofParity = (parity: number) => [...seeds.keys()].filter((index) => seeds[index]! % 2 === parity);
      return [0, 1].flatMap((parity) => {
        const members = ofParity(parity);
        return members.flatMap((_, at) => (at % 2 === 0 ? [members.slice(at, at + 2)] : []));
      });
    },
    onProblem: (problem) => problems.push(problem),
  };
  const book = new PledgeBook(pool, blobs, gathering);
  const values = blobs.put(Float32Array.of(2));
  const pledge = (seed: number): PledgeRef => {
    const ref = book.pledge({ work: "double", job: { values, seed }, bytes: 8 });
    book.retain(ref);
    return ref;
  };
  return { pool, blobs, book, pledge, tasks, problems };
}

test("gathered work begins when it is opened, in groups that only the order of opening decides", async () => {
  const { book, pledge, tasks, problems, pool } = openGatheringBook();
  const refs = [1, 2, 3, 4, 5].map(pledge);
  for (const at of [3, 0, 2]) book.start(refs[at]!);
  await new Promise(setImmediate);
  assert.deepEqual(tasks, [], "started work did not wait");
  assert.deepEqual(await book.open(refs), [2, 4, 6, 8, 10]);
  assert.deepEqual(tasks, [[2, 4], [1, 3], [5]]);
  assert.deepEqual(problems, ["2 at once", "2 at once"]);
  assert.deepEqual(await book.open(refs.toReversed()), [10, 8, 6, 4, 2]);
  assert.deepEqual(book.counts, { begun: 5, opened: 5, discarded: 0 });
  await pool.close();
});

test("gathered work that nobody opens is not done, and holds nothing back", async () => {
  const { book, pledge, tasks, blobs, pool } = openGatheringBook();
  const refs = [1, 3, 5].map(pledge);
  for (const ref of refs) book.start(ref);
  book.release(refs[0]!);
  assert.deepEqual(await book.open(refs.slice(1)), [6, 10]);
  for (const ref of refs.slice(1)) book.release(ref);
  assert.deepEqual(tasks, [[3, 5]]);
  assert.equal(blobs.count, 0);
  await pool.close();
});

test("one that is asked for twice is worked on once, and a failure reaches whoever opens", async () => {
  const { book, pledge, tasks, pool } = openGatheringBook();
  const [seven, thirteen] = [7, 13].map(pledge) as [PledgeRef, PledgeRef];
  assert.deepEqual(await book.open([seven, seven]), [14, 14]);
  await assert.rejects(book.open([thirteen, seven]), /thirteen/);
  assert.deepEqual(tasks, [[7], [13]]);
  await pool.close();
});

test("pledges taken up from a snapshot are gathered as they would have been", async () => {
  const { book, pledge, tasks, pool } = openGatheringBook();
  const refs = [2, 4, 6].map(pledge);
  book.start(refs[0]!);
  const state = decode(encode(book.snapshot())) as PledgeState;
  book.restore(state);
  assert.deepEqual(await book.open(refs), [4, 8, 12]);
  assert.deepEqual(tasks, [[2, 4], [6]]);
  await pool.close();
});
