/** `flame worker` and `flame workers`. */
import { availableParallelism, hostname } from "node:os";
import { given } from "../../base/given.ts";
import { chooseEngine } from "../../engine/create.ts";
import { defaultWeightsCache } from "../../model/formats/prepare-weights.ts";
import { formatTable } from "../../report/table.ts";
import { memoryPerStep } from "../../run/pools/memory.ts";
import { openSetup } from "../../run/pools/setup.ts";
import { threadPool } from "../../run/pools/threads.ts";
import { fetchWeights } from "../../run/pools/weights.ts";
import { traitsOfMachine } from "../../run/provenance.ts";
import { listWorkers } from "../../runtime/pools/nats-attendance.ts";
import { connectNats } from "../../runtime/pools/nats-server.ts";
import { NatsWorker } from "../../runtime/pools/nats-worker.ts";
import { colors } from "../screen/colors.ts";
import { onInterrupt } from "../screen/interrupt.ts";
import { duration } from "../screen/table.ts";
import { terminal } from "../screen/terminal.ts";

interface ServerFlags {
  readonly nats: string;
  readonly creds?: string;
}

export interface WorkerFlags extends ServerFlags {
  readonly workers?: number;
  readonly cache?: string;
  readonly memory?: number;
  readonly taskLimit?: number;
}

export async function serveAsWorker(flags: WorkerFlags): Promise<void> {
  const {
    nats: url,
    creds,
    workers = availableParallelism(),
    cache = defaultWeightsCache(),
    memory,
    taskLimit,
  } = flags;
  const is = { ...traitsOfMachine(), engine: chooseEngine("auto").engine };
  const server = await connectNats({ url, ...given({ creds }) }, `flame-sim, a worker on ${hostname()}`);
  const abort = new AbortController();
  const note = (text: string) => void terminal.out.write(`${text}\n`);
  const listening = await onInterrupt(() => {
    abort.abort();
    note("finishing what is under way; Ctrl-C again stops at once");
  });
  listening.leave({ words: "ended at once; others will do what was under way" });
  const worker = new NatsWorker({
    server,
    slots: workers,
    cores: availableParallelism(),
    host: hostname(),
    is,
    note,
    signal: abort.signal,
    ...given({ cache: memory === undefined ? undefined : memory * 2 ** 20 }),
    async open(setup, fetch) {
      const data = await openSetup(setup, (file) => fetchWeights(file, cache, fetch));
      // Says why, where this machine does not have the engine.
      const { gpu } = chooseEngine(data.engine.engine ?? "auto");
      const memory = memoryPerStep(data.engine.task, { gpu, workers });
      return threadPool({ ...data, engine: { ...data.engine, memory } }, gpu ? 1 : workers, taskLimit);
    },
  });
  note(
    `${workers} ${workers === 1 ? "worker" : "workers"} on ${hostname()} (${is.processor}) for whoever runs at ${url}`,
  );
  await worker.work().finally(listening.deafen);
}

export async function workers({ nats: url, creds, json }: ServerFlags & { readonly json?: boolean }): Promise<void> {
  const server = await connectNats({ url, ...given({ creds }) }, "flame-sim, a look at workers");
  try {
    const found = await listWorkers(server);
    if (json === true) {
      terminal.out.write(`${JSON.stringify(found)}\n`);
      return;
    }
    const titles = ["host", "workers", "cores", "engine", "processor", "gpu", "version", "done", "heard", "serves"];
    const rows = found.map(({ worker, slots, cores, done, serving, refuses, heard }) => [
      worker.host,
      String(slots),
      String(cores),
      worker.is.engine ?? "",
      worker.is.processor ?? "",
      worker.is.gpu ?? "",
      `${worker.is.program ?? ""} ${(worker.is.code ?? "").slice(0, 8)}`,
      String(done),
      `${duration((Date.now() - heard.getTime()) / 1_000)} ago`,
      serving ?? (refuses === null ? "nobody" : `nobody: ${refuses}`),
    ]);
    terminal.out.write(rows.length === 0 ? colors.dim("nobody is there\n") : `${formatTable(titles, rows, 1)}\n`);
  } finally {
    await server.connection.close();
  }
}
