import assert from "node:assert/strict";
import { test } from "node:test";
import { BlobStore } from "../../../src/runtime/messages/blobs.ts";
import { decode, encode } from "../../../src/runtime/messages/codec.ts";
import type { BlobRef, PledgeRef } from "../../../src/runtime/messages/refs.ts";
import { type Gathering, PledgeStore } from "../../../src/runtime/pledges.ts";
import { InlinePool } from "../../../src/runtime/pools/inline-pool.ts";

/** A pool that counts how often each seed is worked on. */
function openStore() {
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
  const store = new PledgeStore(pool, blobs);
  const values = blobs.put(Float32Array.of(1, 2));
  const pledge = (seed: number): PledgeRef => {
    const ref = store.pledge({ work: "double", job: { values, seed }, bytes: 8 });
    store.retain(ref);
    return ref;
  };
  return { pool, blobs, store, values, pledge, worked };
}

test("a pledge nobody opens costs nothing", async () => {
  const { store, pledge, worked, pool, blobs } = openStore();
  const refs = [1, 2, 3].map(pledge);
  await store.open([refs[1]!]);
  for (const ref of refs) store.release(ref);
  await pool.close();
  assert.deepEqual(worked, [2]);
  assert.deepEqual(store.counts, { begun: 1, opened: 1, discarded: 2 });
  assert.equal(blobs.count, 0);
});

test("results come in the order in which they were asked for", async () => {
  const { store, pledge } = openStore();
  const [a, b, c] = [10, 20, 30].map(pledge);
  const values = await store.open([c!, a!, b!]);
  assert.deepEqual(
    values.map((result) => (result as { values: Float32Array }).values[0]),
    [32, 12, 22],
  );
});

test("opening twice, or after a start, works once", async () => {
  const { store, pledge, worked } = openStore();
  const ref = pledge(5);
  store.start(ref);
  const [first] = await store.open([ref]);
  const [second, third] = await store.open([ref, ref]);
  assert.deepEqual(worked, [5]);
  assert.equal(second, first);
  assert.equal(third, first);
});

test("results one after the other are those of opening, a few ahead of whoever asks", async () => {
  const { store, pledge, worked, pool } = openStore();
  const seeds = Array.from({ length: 20 }, (_, seed) => seed);
  const refs = seeds.map(pledge);
  const first: number[] = [];
  for await (const result of store.openEach(refs)) {
    first.push((result as { values: Float32Array }).values[0]!);
    // Time for everything that has begun to end.
    await new Promise(setImmediate);
    assert.ok(worked.length <= first.length + 4, `${worked.length} were worked on when ${first.length} were asked for`);
  }
  assert.deepEqual(
    first,
    seeds.map((seed) => 2 + seed),
  );
  assert.deepEqual(store.counts, { begun: 20, opened: 20, discarded: 0 });
  await pool.close();
});

test("of results one after the other none is kept, and one that is asked for again is worked on again", async () => {
  const { store, blobs, values, pledge, worked } = openStore();
  const ref = pledge(3);
  for (let time = 0; time < 2; time++) {
    for await (const result of store.openEach([ref])) assert.deepEqual(result, { values: Float32Array.of(5, 7) });
  }
  assert.deepEqual(worked, [3, 3]);
  assert.ok(!("result" in store.snapshot().pledges[0]!));
  store.release(ref);
  assert.ok(!blobs.has(values));
  assert.deepEqual(store.counts, { begun: 2, opened: 1, discarded: 0 });
});

test("started work begins only while there is room for its results, unless they weigh nothing", async () => {
  const { store, values, pledge, worked } = openStore();
  const refs = [1, 2, 3, 4, 5, 6, 7].map(pledge);
  for (const ref of refs) store.start(ref);
  const light = store.pledge({ work: "double", job: { values, seed: 10 }, bytes: 0 });
  store.start(light);
  await store.open([light]);
  assert.deepEqual(worked, [1, 2, 3, 4, 10]);
  // One that is let go makes room for another.
  store.release(refs[0]!);
  for (const ref of refs.slice(5)) store.start(ref);
  assert.equal((await store.open(refs.slice(1))).length, 6);
  assert.deepEqual(worked, [1, 2, 3, 4, 10, 6, 5, 7]);
});

test("a failure in the middle reaches whoever asks for it, after those before it", async () => {
  const { store, pledge } = openStore();
  const failing = store.pledge({ work: "fail", job: {}, bytes: 1 });
  const seen: unknown[] = [];
  await assert.rejects(
    async () => {
      for await (const result of store.openEach([pledge(1), failing, pledge(2)])) seen.push(result);
    },
    { message: "the loss is not a number" },
  );
  assert.equal(seen.length, 1);
});

test("work that waits for a free worker is not begun once nobody wants it", async () => {
  const { store, pledge, worked, pool } = openStore();
  const [wanted, unwanted] = [1, 2].map(pledge);
  store.start(wanted!);
  store.start(unwanted!);
  store.release(unwanted!);
  await store.open([wanted!]);
  await pool.close();
  assert.deepEqual(worked, [1]);
});

test("a pledge holds the blobs it will read until it is opened or dropped", async () => {
  const { store, blobs, values, pledge } = openStore();
  const [opened, dropped] = [1, 2].map(pledge);
  await store.open([opened!]);
  assert.ok(blobs.has(values));
  store.release(dropped!);
  assert.ok(!blobs.has(values));
  assert.equal(store.outstanding, 1);
});

test("a failure of the work shows when the pledge is opened, with its own message", async () => {
  const { store } = openStore();
  const ref = store.pledge({ work: "fail", job: {}, bytes: 1 });
  store.start(ref);
  await assert.rejects(store.open([ref]), { message: "the loss is not a number" });
});

test("a dropped pledge cannot be opened", async () => {
  const { store, pledge } = openStore();
  const ref = pledge(1);
  store.release(ref);
  await assert.rejects(store.open([ref]), /pledge 0 is gone: nobody held it any more/);
});

test("a recipe cannot depend on another pledge", () => {
  const { store, pledge } = openStore();
  assert.throws(
    () => store.pledge({ work: "double", job: { values: pledge(1) }, bytes: 8 }),
    /the job of "double" refers to a pledge/,
  );
});

test("a snapshot has opened results as they are, and of work begun only the recipe", async () => {
  const before = openStore();
  const [opened, started] = [1, 2].map(before.pledge);
  before.store.start(started!);
  const [result] = await before.store.open([opened!]);
  const bytes = encode({ store: before.store.snapshot(), blobs: before.blobs.snapshot() });
  const { store, blobs } = decode(bytes) as {
    store: ReturnType<PledgeStore["snapshot"]>;
    blobs: ReturnType<BlobStore["snapshot"]>;
  };
  const after = openStore();
  after.blobs.restore(blobs);
  after.store.restore(store);
  assert.deepEqual(await after.store.open([opened!, started!]), [result, { values: Float32Array.of(4, 6) }]);
  assert.deepEqual(after.worked, [2]);
  after.blobs.put(Float32Array.of(1, 2));
  assert.equal(after.pledge(3).id, 2);
});

/** A pool that doubles numbers, several at a time, and a store that asks for them by pairs of one parity. */
function openGatheringStore() {
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
  const store = new PledgeStore(pool, blobs, gathering);
  const values = blobs.put(Float32Array.of(2));
  const pledge = (seed: number): PledgeRef => {
    const ref = store.pledge({ work: "double", job: { values, seed }, bytes: 8 });
    store.retain(ref);
    return ref;
  };
  return { pool, blobs, store, pledge, tasks, problems };
}

test("gathered work begins when it is opened, in groups that only the order of opening decides", async () => {
  const { store, pledge, tasks, problems, pool } = openGatheringStore();
  const refs = [1, 2, 3, 4, 5].map(pledge);
  for (const at of [3, 0, 2]) store.start(refs[at]!);
  await new Promise(setImmediate);
  assert.deepEqual(tasks, [], "started work did not wait");
  assert.deepEqual(await store.open(refs), [2, 4, 6, 8, 10]);
  assert.deepEqual(tasks, [[2, 4], [1, 3], [5]]);
  assert.deepEqual(problems, ["2 at once", "2 at once"]);
  assert.deepEqual(await store.open(refs.toReversed()), [10, 8, 6, 4, 2]);
  assert.deepEqual(store.counts, { begun: 5, opened: 5, discarded: 0 });
  await pool.close();
});

test("results of gathered work one after the other come from groups cut 256 jobs at a time", async () => {
  const { store, pledge, tasks, pool } = openGatheringStore();
  const seeds = Array.from({ length: 260 }, (_, at) => 20 + at);
  const results: unknown[] = [];
  for await (const result of store.openEach(seeds.map(pledge))) {
    results.push(result);
    const begun = tasks.reduce((sum, { length }) => sum + length, 0);
    assert.ok(begun <= (results.length <= 256 ? 256 : 260), `${begun} begun at result ${results.length}`);
  }
  assert.deepEqual(
    results,
    seeds.map((seed) => 2 * seed),
  );
  assert.deepEqual(tasks.slice(-2), [
    [276, 278],
    [277, 279],
  ]);
  assert.ok(tasks.every(({ length }) => length === 2));
  await pool.close();
});

test("gathered work that nobody opens is not done, and holds nothing back", async () => {
  const { store, pledge, tasks, blobs, pool } = openGatheringStore();
  const refs = [1, 3, 5].map(pledge);
  for (const ref of refs) store.start(ref);
  store.release(refs[0]!);
  assert.deepEqual(await store.open(refs.slice(1)), [6, 10]);
  for (const ref of refs.slice(1)) store.release(ref);
  assert.deepEqual(tasks, [[3, 5]]);
  assert.equal(blobs.count, 0);
  await pool.close();
});

test("one that is asked for twice is worked on once, and a failure reaches whoever opens", async () => {
  const { store, pledge, tasks, pool } = openGatheringStore();
  const [seven, thirteen] = [7, 13].map(pledge) as [PledgeRef, PledgeRef];
  assert.deepEqual(await store.open([seven, seven]), [14, 14]);
  await assert.rejects(store.open([thirteen, seven]), /thirteen/);
  assert.deepEqual(tasks, [[7], [13]]);
  await pool.close();
});

test("pledges taken up from a snapshot are gathered as they would have been", async () => {
  const { store, pledge, tasks, pool } = openGatheringStore();
  const refs = [2, 4, 6].map(pledge);
  store.start(refs[0]!);
  const state = decode(encode(store.snapshot())) as ReturnType<PledgeStore["snapshot"]>;
  store.restore(state);
  assert.deepEqual(await store.open(refs), [4, 8, 12]);
  assert.deepEqual(tasks, [[2, 4], [6]]);
  await pool.close();
});
