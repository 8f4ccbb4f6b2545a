/** A NATS server of the tests' own, on loopback, with JetStream. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { NatsAddress } from "../../src/runtime/pools/nats-address.ts";
import { connectNats } from "../../src/runtime/pools/nats-server.ts";
import { NatsWorker, type NatsWorkerOptions } from "../../src/runtime/pools/nats-worker.ts";
import { needs } from "./needs.ts";

/** Debian puts it where not everybody looks. */
const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` };

const isInstalled = ((): boolean => {
  try {
    execFileSync("nats-server", ["--version"], { env: environment, stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** For `{ skip: withoutNats }`. */
export const withoutNats: string | false = isInstalled ? false : needs.nats;

export interface TestServer {
  readonly url: string;
  readonly port: number;
  /** Ends it by force, and starts it again with what it has on disk, and with another configuration where one is given. */
  restart(config?: string): Promise<void>;
  stop(): Promise<void>;
  /** Bytes that came in and went out since it was started. */
  traffic(): Promise<{ readonly in_bytes: number; readonly out_bytes: number }>;
}

/**
 * @param config lines of its configuration besides
 * @param jetstream whether it has JetStream, or lines of the configuration of that
 */
export async function startNats(config = "", jetstream: boolean | string = true): Promise<TestServer> {
  const folder = mkdtempSync(join(tmpdir(), "flame-nats-"));
  const [port, monitor] = [await freePort(), await freePort()];
  const file = join(folder, "nats.conf");
  const limits = typeof jetstream === "string" ? `, ${jetstream}` : "";
  const place = `store_dir: ${JSON.stringify(join(folder, "store"))}`;
  const stored = jetstream === false ? "" : `jetstream { ${place}${limits} }\n`;
  const configure = (more: string) =>
    writeFileSync(file, `listen: "127.0.0.1:${port}"\nhttp: "127.0.0.1:${monitor}"\n${stored}${more}\n`);
  configure(config);
  let child = await start(file);
  const kill = async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  };
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    async traffic() {
      return (await fetch(`http://127.0.0.1:${monitor}/varz`)).json() as ReturnType<TestServer["traffic"]>;
    },
    async stop() {
      await kill();
      rmSync(folder, { recursive: true });
    },
    async restart(changed = config) {
      await kill();
      configure(changed);
      child = await start(file);
    },
  };
}

async function start(file: string): Promise<ChildProcess> {
  const child = spawn("nats-server", ["-c", file], { env: environment, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes("Server is ready")) resolve();
    });
    child.on("exit", () => reject(new Error(`nats-server ended: ${said}`)));
  });
  return child;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, "close");
  return port;
}

/** A worker in this process. @returns ends it */
export async function startWorker(
  url: string,
  options: Pick<NatsWorkerOptions, "open"> & Partial<NatsWorkerOptions>,
  address: Omit<NatsAddress, "url"> = {},
): Promise<() => Promise<void>> {
  const abort = new AbortController();
  const server = await connectNats({ url, ...address }, "a worker of the tests");
  const worker = new NatsWorker({
    server,
    slots: 1,
    cores: 1,
    host: "here",
    is: {},
    note: () => {},
    signal: abort.signal,
    silence: 3_000,
    ...options,
  });
  const done = worker.work();
  return async () => {
    abort.abort();
    await done;
  };
}
