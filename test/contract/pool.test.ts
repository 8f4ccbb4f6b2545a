import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { InvariantError, MachineError } from "../../src/base/errors.ts";
import { BlobStore } from "../../src/runtime/messages/blobs.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { NatsPool } from "../../src/runtime/pools/nats.ts";
import { connectNats } from "../../src/runtime/pools/nats-server.ts";
import { PiscinaPool } from "../../src/runtime/pools/piscina-pool.ts";
import type { Task, WorkPool } from "../../src/runtime/pools/pool.ts";
import { temporaryFolder } from "../support/folders.ts";
import { startNats, startWorker, type TestServer, withoutNats } from "../support/nats.ts";
import { handlers } from "../support/pool-worker.ts";

const worker = new URL("../support/pool-worker.ts", import.meta.url);

const task = (work: string, job: unknown): Task => ({ work, job, blobs: [] });

const folder = temporaryFolder({ after });
let nextCounter = 0;

/** A task that counts how often it was begun. */
function counted(work: string, failing = 0): { task: Task; begun: () => number } {
  const begun = join(folder, String(nextCounter++));
  return {
    task: task(work, { begun, failing }),
    begun: () => (existsSync(begun) ? statSync(begun).size : 0),
  };
}

/** @param shares whether workers see the memory of this process */
function poolContract(name: string, open: () => WorkPool | Promise<WorkPool>, shares = true): void {
  describe(name, () => {
    let pool: WorkPool;
    before(async () => {
      pool = await open();
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
      if (!shares) return;
      // Nobody may write to a blob; here it shows that the worker's view and ours are the same memory.
      blobs.floats(values)[0] = 10;
      assert.equal(await pool.run(sum), 16);
    });

    test("a task that asks for a blob its job does not name is told so", async () => {
      const values = new BlobStore().put(Float32Array.of(1));
      await assert.rejects(pool.run(task("sum", { values })), /the task does not name blob/);
    });

    test("arrays that a task does not use again come back wherever its result has them", async () => {
      const results = await Promise.all([5, 100_000].map((length) => pool.run(task("last", { length }))));
      for (const [at, length] of [5, 100_000].entries()) {
        const values = Float32Array.from({ length }, (_, i) => i - 1);
        assert.deepEqual(results[at], { part: Float32Array.of(0, 1), values, list: [values, -0], length });
      }
    });

    test("large arrays come back whole", async () => {
      const { values } = (await pool.run(task("ramp", { length: 100_000 }))) as { values: Float32Array };
      assert.ok(values instanceof Float32Array);
      assert.equal(values.length, 100_000);
      assert.equal(values[99_999], 99_999);
      const bytes = (await pool.run(task("ones", { length: 100_000 }))) as Uint8Array;
      assert.equal(
        bytes.reduce((sum, byte) => sum + byte, 0),
        100_000,
      );
    });

    test("a handler that writes to its job reaches nobody", async () => {
      const values = Float32Array.of(1, 2, 3);
      assert.equal(await pool.run(task("scribble", { values })), 3);
      assert.deepEqual(values, Float32Array.of(1, 2, 3));
    });

    test("a job or a result that cannot travel is a bug, not a dying worker", async () => {
      const job = pool.run(task("square", { n: () => 1 }));
      await assert.rejects(job, (error) => {
        assert.ok(error instanceof InvariantError);
        assert.match(error.message, /"square" cannot travel to a worker: .* value\.n is a function/);
        return true;
      });
      await assert.rejects(pool.run(task("unwieldy", {})), {
        name: "InvariantError",
        message: /value\.value is a Map/,
      });
      // A worker elsewhere that goes to another run hands back what it has not begun.
      if (shares) assert.equal(pool.diagnostics.retries, 0);
    });

    test("a task nobody wants any more is not begun", async () => {
      const { task, begun } = counted("count");
      const results = await Promise.all([pool.run(task), pool.run(task, () => false), pool.run(task, () => true)]);
      assert.equal(results[1], undefined);
      assert.equal(begun(), 2);
    });

    test("closing waits for the tasks that were handed in, and takes no more", async () => {
      const other = await open();
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
  poolContract(
    "the pool with threads that do tasks of a kind first",
    () =>
      new PiscinaPool({
        worker,
        workers: 1,
        natureOf: ({ work }) => ({ kind: work, effort: work.length, isPatient: work === "sum" }),
      }),
  );

  describe("with a NATS server", { skip: withoutNats }, () => {
    let server: TestServer;
    const stops: (() => Promise<void>)[] = [];
    before(async () => {
      server = await startNats();
    });
    after(async () => {
      for (const stop of stops) await stop();
      await server.stop();
    });
    const open = async (local: WorkPool | null): Promise<WorkPool> => {
      stops.push(await startWorker(server.url, { slots: 2, open: async () => new InlinePool(handlers) }));
      return NatsPool.open({
        server: await connectNats({ url: server.url }, "a run of the tests"),
        title: "contract",
        needs: {},
        setup: new Uint8Array(1),
        local,
        silence: 3_000,
      });
    };
    poolContract("the pool with workers anywhere", () => open(null), false);
    poolContract("the pool with workers anywhere, and some here", () => open(new InlinePool(handlers)), false);
  });

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

  test("a worker that dies costs a retry and nothing else, and all steps are counted, its own too", async () => {
    const pool = new PiscinaPool({ worker, workers: 1 });
    await Promise.all([pool.run(task("steps", { count: 3 })), pool.run(task("steps", { count: 4 }))]);
    const dying = counted("die", 1);
    const [first, second] = await Promise.all([pool.run(dying.task), pool.run(task("square", { n: 5 }))]);
    assert.equal(first, "survived");
    assert.deepEqual(second, { n: 25 });
    assert.equal(dying.begun(), 2);
    assert.equal(pool.diagnostics.retries, 1);
    assert.match(pool.diagnostics.problems.join(), /worker lost under "die" \(attempt 1\): worker exited with code: 3/);
    const { busy, steps } = pool.diagnostics;
    assert.equal(steps, 7);
    assert.deepEqual(Object.keys(busy ?? {}).sort(), ["die", "square", "steps"]);
    assert.ok(Object.values(busy!).every((seconds) => seconds > 0));
    await pool.close();
  });

  test("short tasks travel together, and each is begun again alone where one takes the worker's life", async () => {
    // After a task that was said to be long, all others are expected to be short.
    const natureOf = ({ work }: Task) => ({ kind: "any", effort: work === "ramp" ? 1e9 : 1, isPatient: false });
    const pool = new PiscinaPool({ worker, workers: 1, natureOf });
    await pool.run(task("ramp", { length: 1 }));
    const dying = counted("die", 1);
    const others = [1, 2, 3, 4, 5].map((n) => task("square", { n }));
    const results = await Promise.all([dying.task, ...others].map((each) => pool.run(each)));
    assert.deepEqual(results, ["survived", ...[1, 4, 9, 16, 25].map((n) => ({ n }))]);
    assert.deepEqual([pool.diagnostics.retries, dying.begun()], [3, 2]);
    await pool.close();
  });

  test("a task under which workers keep dying is given up, and the pool goes on", async () => {
    const pool = new PiscinaPool({ worker, workers: 1, attempts: 2 });
    const doomed = pool.run(counted("die", 9).task);
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
});
