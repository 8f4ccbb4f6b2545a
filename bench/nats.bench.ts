/**
 * What workers elsewhere cost: `npm run bench -- nats nats://127.0.0.1:4222`. At first run and workers share this process, so
 * that both sides of every message are in the figures; then a hundred have a process each, and only the run's own is counted.
 * A worker answers from a table after as long as a task is said to take.
 */
import { spawn } from "node:child_process";
import { once, setMaxListeners } from "node:events";
import { join } from "node:path";
import { median } from "simple-statistics";
import { NatsPool } from "../src/runtime/pools/nats.ts";
import { connectNats } from "../src/runtime/pools/nats-server.ts";
import { PiscinaPool } from "../src/runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../src/runtime/pools/pool.ts";
import { workAt } from "./nats-worker.ts";

/** In this process. */
function startWorkers(url: string, count: number): () => Promise<unknown> {
  const abort = new AbortController();
  setMaxListeners(0, abort.signal);
  const working = Array.from({ length: count }, (_, at) => workAt(url, `bench-${at}`, abort.signal));
  return () => {
    abort.abort();
    return Promise.all(working);
  };
}

/** Each a process of its own. */
function startProcesses(url: string, count: number): () => Promise<unknown> {
  const file = join(import.meta.dirname, "nats-worker.ts");
  const started = Array.from({ length: count }, (_, at) =>
    spawn(process.execPath, [...process.execArgv, file, url, `process-${at}`], {
      stdio: ["ignore", "ignore", "inherit"],
    }),
  );
  return () => {
    for (const one of started) one.kill("SIGTERM");
    return Promise.all(started.map((one) => once(one, "exit")));
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
  const stop = startWorkers(url, slots);
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
  const stopMany = startProcesses(url, 100);
  const many = await openPool(url, 100);
  await time(many, 500, 0);
  const cpu = process.cpuUsage();
  const tasks = 2_000;
  const took = await time(many, tasks, 0);
  const { user, system } = process.cpuUsage(cpu);
  const memory = process.memoryUsage().rss / 2 ** 20;
  console.log(
    `100 workers, a process each: ${((1_000 * tasks) / took).toFixed(0)} tasks of 0 ms a second with 80 kB of results; ` +
      `of the run's process ${((user + system) / 1_000 / tasks).toFixed(2)} ms of a core each, ${memory.toFixed(0)} MiB`,
  );
  await many.close();
  await stopMany();
}
