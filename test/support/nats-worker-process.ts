/** A process that is a worker for the tests of pools: `node … nats-worker-process.ts <url>`. It says when it is there. */
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { startWorker } from "./nats.ts";
import { handlers } from "./pool-worker.ts";

const [url] = process.argv.slice(2);
await startWorker(url!, {
  slots: 2,
  silence: 2_000,
  open: async () => new InlinePool(handlers),
  note: (text) => process.stdout.write(`${text}\n`),
});
process.stdout.write("there\n");
