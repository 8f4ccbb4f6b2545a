/** One worker of `nats.bench.ts`, a process of its own until SIGTERM: `nats-worker.ts <url> <host>`. */
import { InlinePool } from "../src/runtime/pools/inline-pool.ts";
import { connectNats } from "../src/runtime/pools/nats-server.ts";
import { NatsWorker } from "../src/runtime/pools/nats-worker.ts";
import { answers } from "./answers.ts";

/** Does any number of tasks at a time, so that only the pool in front of it counts. */
class Answers extends InlinePool {
  override async run({ job }: { readonly job: unknown }): Promise<unknown> {
    return answers.wait(job as Parameters<typeof answers.wait>[0]);
  }
}

/** Works until `signal`. */
export async function workAt(url: string, host: string, signal: AbortSignal): Promise<void> {
  const server = await connectNats({ url }, "bench");
  const options = { server, slots: 1, cores: 1, host, is: {}, signal };
  await new NatsWorker({ ...options, note: () => {}, open: async () => new Answers({}) }).work();
}

const [, file, url, host] = process.argv;
if (file === import.meta.filename && url !== undefined && host !== undefined) {
  const abort = new AbortController();
  process.once("SIGTERM", () => abort.abort());
  await workAt(url, host, abort.signal);
}
