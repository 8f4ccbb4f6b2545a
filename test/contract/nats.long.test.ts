/** Workers anywhere that are killed all the time, and networks that fail all the time: every task counts once. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Rng } from "../../src/base/random.ts";
import { BlobStore } from "../../src/runtime/messages/blobs.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { NatsPool } from "../../src/runtime/pools/nats.ts";
import { connectNats } from "../../src/runtime/pools/nats-server.ts";
import { badLink } from "../support/bad-link.ts";
import { startNats, startWorker, withoutNats } from "../support/nats.ts";
import { handlers } from "../support/pool-worker.ts";

const fileIn = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

async function openPool(url: string, silence: number): Promise<NatsPool> {
  const server = await connectNats({ url }, "a run of the tests");
  return NatsPool.open({ server, title: "test", needs: {}, setup: new Uint8Array(1), silence });
}

/** Resolves when it is there. */
async function startProcess(url: string): Promise<ChildProcess> {
  const words = ["--import", fileIn("scripts/typescript.mjs"), fileIn("test/support/nats-worker-process.ts"), url];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout!, "data");
  return child;
}

const waits = (count: number) => Array.from({ length: count }, (_, n) => ({ n }));

test("workers that are killed fifty times in five runs lose no task, and none counts twice", {
  skip: withoutNats,
}, async () => {
  const server = await startNats();
  const draws = new Rng(7).at("victims").at(0);
  const workers = await Promise.all([1, 2, 3].map(() => startProcess(server.url)));
  let kills = 0;
  let retries = 0;
  let over = false;
  const killing = (async () => {
    while (!over) {
      const at = draws.below(3);
      workers[at]!.kill("SIGKILL");
      kills++;
      workers[at] = await startProcess(server.url);
    }
  })();
  for (let run = 1; run <= 5; run++) {
    const pool = await openPool(server.url, 2_000);
    let done = 0;
    while (kills < 10 * run) {
      const tasks = waits(24).map(({ n }) => pool.run({ work: "wait", job: { n, milliseconds: 200 }, blobs: [] }));
      assert.deepEqual(await Promise.all(tasks), waits(24));
      done += 24;
    }
    assert.equal(pool.diagnostics.completed, done);
    retries += pool.diagnostics.retries;
    await pool.close();
  }
  over = true;
  await killing;
  assert.ok(retries > 0);
  for (const worker of workers) worker.kill("SIGKILL");
  await server.stop();
});

test("connections that are slow, cut to pieces and ended at any byte lose nothing", { skip: withoutNats }, async () => {
  const server = await startNats();
  const rng = new Rng(3);
  const links = await Promise.all(
    [0, 1, 2].map((side) => badLink(server.port, rng.at("link").at(side), side === 0 ? 0.002 : 0.004)),
  );
  const url = (side: number) => `nats://127.0.0.1:${links[side]!.port}`;
  const pool = await openPool(url(0), 2_000);
  const open = async () => new InlinePool(handlers);
  const stops = await Promise.all([1, 2].map((side) => startWorker(url(side), { open, slots: 2, silence: 2_000 })));
  const blobs = new BlobStore();
  const inline = new InlinePool(handlers);
  for (let seed = 0; links.some(({ cuts }) => cuts() < 3); seed++) {
    const base = blobs.put(Float32Array.from({ length: 20_000 }, (_, i) => Math.sin(seed * i)));
    const task = { work: "mix", job: { base, seed }, blobs: [[base.digest, blobs.bytes(base)]] } as const;
    assert.deepEqual(await pool.run(task), await inline.run(task));
  }
  await pool.close();
  for (const stop of stops) await stop();
  for (const link of links) link.close();
  await server.stop();
});
