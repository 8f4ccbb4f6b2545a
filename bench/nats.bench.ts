/**
 * What workers elsewhere cost: `npm run bench -- nats nats://127.0.0.1:4222`. Run and workers share this process, so that
 * both sides of every message are in the figures. A worker answers from a table after as long as a task is said to take.
 */
import { setMaxListeners } from "node:events";
import { median } from "simple-statistics";
import { InlinePool } from "../src/runtime/pools/inline-pool.ts";
import { NatsPool } from "../src/runtime/pools/nats.ts";
import { connectNats } from "../src/runtime/pools/nats-server.ts";
import { NatsWorker } from "../src/runtime/pools/nats-worker.ts";
import { PiscinaPool } from "../src/runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../src/runtime/pools/pool.ts";
import { answers } from "./answers.ts";

/** Does any number of tasks at a time, so that only the pool in front of it counts. */
class Answers extends InlinePool {
  override async run({ job }: { readonly job: unknown }): Promise<unknown> {
    return answers.wait(job as Parameters<typeof answers.wait>[0]);
  }
}

async function startWorkers(url: string, count: number): Promise<() => Promise<unknown>> {
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  const working = Array.from({ length: count }, async (_, at) => {
    const server = await connectNats({ url }, "bench");
    const options = { server, slots: 1, cores: 1, host: `bench-${at}`, is: {}, signal: abort.signal };
    await new NatsWorker({ ...options, note: () => {}, open: async () => new Answers({}) }).work();
  });
  return () => {
    abort.abort();
    return Promise.all(working);
  };
}

async function openPool(url: string, slots: number): Promise<NatsPool> {
  let awaited = slots;
  let there = () => {};
  const complete = new Promise<void>((resolve) => {
    there = resolve;
  });
  const pool = await NatsPool.open({
    server: await connectNats({ url }, "bench"),
    title: "bench",
    needs: {},
    setup: new Uint8Array(1),
    // Each has one slot.
    note: (text) => text.includes("has come") && --awaited === 0 && there(),
  });
  await complete;
  return pool;
}

/** Milliseconds that `count` tasks take. */
async function time(pool: WorkPool, count: number, milliseconds: number): Promise<number> {
  const begun = performance.now();
  const task = { work: "wait", job: { milliseconds }, blobs: [] };
  await Promise.all(Array.from({ length: count }, () => pool.run(task)));
  return performance.now() - begun;
}

export default async function bench([url]: string[]): Promise<void> {
  if (url === undefined) throw new Error("expected the URL of a NATS server with JetStream");
  const slots = 8;
  const stop = await startWorkers(url, slots);
  const pool = await openPool(url, slots);
  const local = new PiscinaPool({ worker: new URL("answers.ts", import.meta.url), workers: slots });
  for (const each of [pool, local]) await time(each, 50, 0);
  for (const [milliseconds, waves] of [
    [0, 50],
    [100, 6],
    [1_000, 3],
  ] as const) {
    const pairs: { there: number; here: number }[] = [];
    for (let repeat = 0; repeat < 3; repeat++) {
      const there = (await time(pool, slots * waves, milliseconds)) / waves;
      pairs.push({ there, here: (await time(local, slots * waves, milliseconds)) / waves });
    }
    const [there, here] = [median(pairs.map(({ there }) => there)), median(pairs.map(({ here }) => here))];
    const rate = (wave: number) => ((1_000 * slots) / wave).toFixed(1);
    console.log(
      `tasks of ${milliseconds} ms, ${slots} at a time: ${rate(there)} a second, ${rate(here)} on threads here; ` +
        `${median(pairs.map(({ there, here }) => there - here)).toFixed(1)} ms added to each`,
    );
  }
  await local.close();
  await pool.close();
  await stop();
  const stopMany = await startWorkers(url, 100);
  const many = await openPool(url, 100);
  const took = await time(many, 2_000, 0);
  const memory = process.memoryUsage().rss / 2 ** 20;
  console.log(`100 workers: ${(2e6 / took).toFixed(0)} tasks of 0 ms a second, ${memory.toFixed(0)} MiB in all`);
  await many.close();
  await stopMany();
}
