/**
 * How long does a user wait?
 *
 *   npm run bench -- start [--repeats <number>]
 *
 * Seconds of real time, compiled output up to date. The reference is `node -e 0`, started in turn with what is measured;
 * what a command takes beyond it is the median of the differences.
 */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { median } from "simple-statistics";
import { compile, compiled } from "../bin/compiled.mjs";
import { packageRoot } from "../src/base/places.ts";
import { formatTable } from "../src/report/table.ts";

export default async function bench(options: string[]): Promise<void> {
  const { values } = parseArgs({ args: options, options: { repeats: { type: "string", default: "11" } } });
  const repeats = Number(values.repeats);
  const program = await compiled();
  const helps = {
    "flame --help, installed": [join(program, "src/cli/main.js"), "--help"],
    "flame --help, checkout": ["bin/flame.mjs", "--help"],
  };
  const beyond = new Map(Object.keys(helps).map((what) => [what, [] as number[]]));
  for (let repeat = 0; repeat <= repeats; repeat++) {
    const reference = seconds(["-e", "0"]);
    // The first fills the caches of the file system.
    for (const [what, words] of Object.entries(helps))
      if (repeat > 0) beyond.get(what)!.push(seconds(words) - reference);
  }
  const few = Math.max(1, repeats >> 2);
  const ready = await workersReady(repeats);
  const rounds: number[] = [];
  for (let repeat = 0; repeat < few; repeat++) rounds.push(await firstRound());
  const rows = [
    ...[...beyond].map(([what, found]) => [`${what}, beyond node -e 0`, median(found)] as const),
    ["a worker from its start to its first answer", median(ready)] as const,
    ["npm start to the first trained round", median(rounds)] as const,
  ];
  const shown = rows.map(([what, time]) => [what, time.toFixed(2)]);
  process.stdout.write(`${formatTable(["", "seconds"], shown, 1)}\n`);
}

/** A process from its start to its end. */
function seconds(words: readonly string[]): number {
  const begun = performance.now();
  const { status, stderr } = spawnSync(process.execPath, words, { cwd: packageRoot(), encoding: "utf8" });
  if (status !== 0) throw new Error(`node ${words.join(" ")} ended with ${status}: ${stderr}`);
  return (performance.now() - begun) / 1_000;
}

/** Each in a process of its own: worker threads begin with the options of the process, and this one has tsx among them. */
async function workersReady(repeats: number): Promise<number[]> {
  const folder = join(packageRoot(), ".cache", `start-bench.${process.pid}`);
  try {
    await compile(folder, { more: ["src/runtime/pools/piscina-pool"] });
    const url = (path: string) => JSON.stringify(pathToFileURL(join(folder, path)).href);
    const code = `
    const { PiscinaPool } = await import(${url("src/runtime/pools/piscina-pool.js")});
    const begun = performance.now();
    const pool = new PiscinaPool({ worker: new URL(${url("actors/worker.js")}), workers: 1, workerData: {} });
    // There is no such work, and the worker says so.
    await pool.run({ work: "none", job: null, blobs: [] }).catch(() => {});
    process.stdout.write(String((performance.now() - begun) / 1_000));
    process.exit();`;
    const words = ["--input-type=module", "-e", code];
    return Array.from({ length: repeats }, () =>
      Number(spawnSync(process.execPath, words, { encoding: "utf8" }).stdout),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function firstRound(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "flame-start-"));
  const begun = performance.now();
  const words = ["start", "--silent", "--", "--json", "--out", join(folder, "run")];
  const child = spawn("npm", words, { cwd: packageRoot(), stdio: ["ignore", "pipe", "inherit"], detached: true });
  const lines = createInterface({ input: child.stdout });
  const found = await new Promise<number>((resolve, reject) => {
    child.once("close", () => reject(new Error("npm start ended before its first round")));
    lines.on("line", (line) => {
      const { event, row } = JSON.parse(line) as { event: string; row?: { round: number } };
      if (event === "round" && row?.round === 1) resolve((performance.now() - begun) / 1_000);
    });
  });
  // npm and what it started: a run that is asked to stop would first finish its round.
  process.kill(-child.pid!, "SIGKILL");
  await new Promise((resolve) => child.once("close", resolve));
  rmSync(folder, { recursive: true, force: true });
  return found;
}
