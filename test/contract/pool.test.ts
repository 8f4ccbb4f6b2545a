import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { InvariantError, MachineError } from "../../src/base/errors.ts";
import { BlobStore } from "../../src/runtime/messages/blobs.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { PiscinaPool } from "../../src/runtime/pools/piscina-pool.ts";
import type { Task, WorkPool } from "../../src/runtime/pools/pool.ts";
import { handlers } from "../support/pool-worker.ts";

const worker = new URL("../support/pool-worker.ts", import.meta.url);

const task = (work: string, job: unknown): Task => ({ work, job, blobs: [] });
const counter = () => new Int32Array(new SharedArrayBuffer(4));

function poolContract(name: string, open: () => WorkPool): void {
  describe(name, () => {
    let pool: WorkPool;
    before(() => {
      pool = open();
    });
    after(() => pool.close());

    test("every task gives its own result, in whatever order they are handed in", async () => {
      const numbers = Array.from({ length: 24 }, (_, i) => i);
      const squares = (order: number[]) => Promise.all(order.map((n) => pool.run(task("square", { n }))));
      const forwards = await squares(numbers);
      const backwards = await squares(numbers.toReversed());
      assert.deepEqual(
        forwards,
        numbers.map((n) => ({ n: n * n })),
      );
      assert.deepEqual(backwards.toReversed(), forwards);
    });

    test("a task that throws rejects with its message, and the pool goes on", async () => {
      await assert.rejects(pool.run(task("fail", { message: "no such expert" })), { message: "no such expert" });
      assert.deepEqual(await pool.run(task("square", { n: 3 })), { n: 9 });
    });

    test("work without a handler is refused with the names of those there are", async () => {
      await assert.rejects(pool.run(task("toString", {})), /no handler for "toString"; this worker has square, sum/);
    });

    test("a task reads its blobs where they lie", async () => {
      const blobs = new BlobStore();
      const values = blobs.put(Float32Array.of(1, 2, 4));
      const sum = { work: "sum", job: { values }, blobs: [[values.digest, blobs.bytes(values)] as const] };
      assert.equal(await pool.run(sum), 7);
      // Nobody may write to a blob; here it shows that the worker's view and ours are the same memory.
      blobs.floats(values)[0] = 10;
      assert.equal(await pool.run(sum), 16);
    });

    test("a task that asks for a blob its job does not name is told so", async () => {
      const values = new BlobStore().put(Float32Array.of(1));
      await assert.rejects(pool.run(task("sum", { values })), /the task does not name blob/);
    });

    test("large arrays come back whole", async () => {
      const { values } = (await pool.run(task("ramp", { length: 100_000 }))) as { values: Float32Array };
      assert.ok(values instanceof Float32Array);
      assert.equal(values.length, 100_000);
      assert.equal(values[99_999], 99_999);
    });

    test("a handler that writes to its job reaches nobody", async () => {
      const values = Float32Array.of(1, 2, 3);
      assert.equal(await pool.run(task("scribble", { values })), 3);
      assert.deepEqual(values, Float32Array.of(1, 2, 3));
    });

    test("a task nobody wants any more is not begun", async () => {
      const begun = counter();
      const results = await Promise.all([
        pool.run(task("count", { begun })),
        pool.run(task("count", { begun }), () => false),
        pool.run(task("count", { begun }), () => true),
      ]);
      assert.equal(results[1], undefined);
      assert.equal(begun[0], 2);
    });

    test("closing waits for the tasks that were handed in, and takes no more", async () => {
      const other = open();
      const results = [1, 2, 3, 4, 5].map((n) => other.run(task("square", { n })));
      await other.close();
      assert.deepEqual(
        await Promise.all(results),
        [1, 4, 9, 16, 25].map((n) => ({ n })),
      );
      await assert.rejects(other.run(task("square", { n: 1 })), InvariantError);
    });
  });
}

describe("pools", { concurrency: true }, () => {
  poolContract("the pool on this thread", () => new InlinePool(handlers));
  poolContract("the pool with threads", () => new PiscinaPool({ worker, workers: 2 }));

  test("the pools give the same results, bit for bit", async () => {
    const blobs = new BlobStore();
    const base = blobs.put(Float32Array.from({ length: 1_000 }, (_, i) => Math.sin(i)));
    const views = [[base.digest, blobs.bytes(base)] as const];
    const inline = new InlinePool(handlers);
    const threads = new PiscinaPool({ worker, workers: 1 });
    for (const seed of [1, 2, 3]) {
      const job = { work: "mix", job: { base, seed }, blobs: views };
      assert.deepEqual(await threads.run(job), await inline.run(job));
    }
    await threads.close();
  });

  test("a worker that dies costs a retry and nothing else", async () => {
    const pool = new PiscinaPool({ worker, workers: 1 });
    const begun = counter();
    const [first, second] = await Promise.all([
      pool.run(task("die", { begun, failing: 1 })),
      pool.run(task("square", { n: 5 })),
    ]);
    assert.equal(first, "survived");
    assert.deepEqual(second, { n: 25 });
    assert.equal(begun[0], 2);
    assert.equal(pool.diagnostics.retries, 1);
    assert.match(pool.diagnostics.problems.join(), /worker lost under "die" \(attempt 1\): worker exited with code: 3/);
    await pool.close();
  });

  test("a task under which workers keep dying is given up, and the pool goes on", async () => {
    const pool = new PiscinaPool({ worker, workers: 1, attempts: 2 });
    const doomed = pool.run(task("die", { begun: counter(), failing: 9 }));
    await assert.rejects(doomed, (error) => {
      assert.ok(error instanceof MachineError);
      assert.match(error.message, /worker lost 2 times under "die", giving up: worker exited with code: 3/);
      return true;
    });
    assert.deepEqual(await pool.run(task("square", { n: 2 })), { n: 4 });
    await pool.close();
  });

  test("a worker module that is not there fails the task instead of hanging", async () => {
    const pool = new PiscinaPool({ worker: new URL("./no-such-worker.ts", import.meta.url), workers: 1, attempts: 2 });
    await assert.rejects(pool.run(task("square", { n: 1 })), (error) => {
      assert.ok(error instanceof MachineError);
      assert.match(error.message, /no-such-worker/);
      return true;
    });
    await pool.close();
  });

  test("a job that cannot travel is a bug, not a dying worker", async () => {
    const pool = new PiscinaPool({ worker, workers: 1 });
    await assert.rejects(pool.run(task("square", { n: () => 1 })), (error) => {
      assert.ok(error instanceof InvariantError);
      assert.match(error.message, /"square" cannot travel/);
      return true;
    });
    assert.equal(pool.diagnostics.retries, 0);
    await pool.close();
  });
});
