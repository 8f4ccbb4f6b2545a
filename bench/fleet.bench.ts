/**
 * How large a fleet, and how fast, without training?
 *
 *   npm run bench -- fleet [--repeats 5] [--quick]
 *
 * Every rate is also given as a share of a reference measured right beside it: pushing to and popping from a bare binary
 * heap of numbers, which is the least any discrete-event simulation has to do.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { median } from "simple-statistics";
import quickstart from "../scenarios/quickstart.ts";
import type { Millis } from "../src/base/units.ts";
import { formatTable } from "../src/report/table.ts";
import { prepareRun, run as runScenario } from "../src/run/run.ts";
import { configure } from "../src/scenario/configure.ts";
import { Kernel } from "../src/sim/kernel/kernel.ts";
import { type FleetRun, federationOf } from "./fleet-run.ts";
import { benchFleet, type FleetSize } from "./fleet-scenario.ts";

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const thousands = (value: number): string => `${(value / 1_000).toFixed(0)} k`;

export default async function run(options: string[]): Promise<void> {
  const { values } = parseArgs({
    args: options,
    options: { repeats: { type: "string", default: "5" }, quick: { type: "boolean", default: false } },
  });
  const repeats = Number(values.repeats);
  await endToEnd(repeats);
  await queueSizes(repeats);
  million(values.quick ? 1 : Math.min(3, repeats));
  idleClients();
  if (!values.quick) await overhead();
}

/** Scenario, server, clients, world, digest of the trace: everything but files and training. */
async function endToEnd(repeats: number): Promise<void> {
  const sizes: [string, FleetSize][] = [
    ["100,000 clients, cohorts of 1,000", { clients: 100_000, cohort: 1_000, rounds: 50 }],
    ["10,000 clients, cohorts of 16", { clients: 10_000, cohort: 16, rounds: 3_000 }],
    ["10,000 clients, 1,000 at a time in FedBuff", { clients: 10_000, cohort: 1_000, rounds: 500, policy: "fedbuff" }],
  ];
  const rows: string[][] = [];
  for (const [name, size] of sizes) {
    const scenario = benchFleet(size);
    const prepared = await prepareRun(scenario, {});
    const rates: number[] = [];
    const cpu: number[] = [];
    const references: number[] = [];
    let rowsPerEvent = 0;
    // The first pass compiles.
    for (let repeat = -1; repeat < repeats; repeat++) {
      const federation = federationOf(scenario, prepared);
      const before = heapRate();
      const used = process.cpuUsage();
      const begun = performance.now();
      federation.begin();
      await federation.advance(() => false);
      const seconds = (performance.now() - begun) / 1_000;
      const { user, system } = process.cpuUsage(used);
      if (repeat < 0) continue;
      const { processed } = federation.kernel;
      rates.push(processed / seconds);
      cpu.push((user + system) / processed);
      references.push((before + heapRate()) / 2);
      rowsPerEvent = federation.trace.rows / processed;
    }
    const [rate, reference] = [median(rates), median(references)];
    rows.push([
      name,
      thousands(rate),
      median(cpu).toFixed(2),
      thousands(rate * rowsPerEvent),
      thousands(reference),
      `${((100 * rate) / reference).toFixed(1)} %`,
    ]);
  }
  const titles = ["end to end, one core", "events/s", "CPU µs/event", "trace rows/s", "bare heap/s", "share"];
  print(formatTable(titles, rows, 1));
}

/** Pushes and pops of a bare heap that holds `pending` numbers, per second. */
function heapRate(pending = 10_000, operations = 300_000): number {
  const heap = new Float64Array(pending + 1);
  let size = 0;
  const push = (value: number): void => {
    let hole = size++;
    while (hole > 0 && heap[(hole - 1) >> 1]! > value) {
      heap[hole] = heap[(hole - 1) >> 1]!;
      hole = (hole - 1) >> 1;
    }
    heap[hole] = value;
  };
  const pop = (): number => {
    const first = heap[0]!;
    const last = heap[--size]!;
    let hole = 0;
    for (let child = 1; child < size; child = 2 * hole + 1) {
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
      if (last <= heap[child]!) break;
      heap[hole] = heap[child]!;
      hole = child;
    }
    heap[hole] = last;
    return first;
  };
  for (let i = 0; i < pending; i++) push((i * 7_919) % 10_007);
  const begun = performance.now();
  for (let i = 0; i < operations; i++) push(pop() + ((i * 7_919) % 10_007));
  return operations / ((performance.now() - begun) / 1_000);
}

/** Cost of an event against the number pending: a heap's is at most proportional to its logarithm. */
async function queueSizes(repeats: number): Promise<void> {
  const rows: string[][] = [];
  const events = 400_000;
  for (const pending of [100, 1_000, 10_000, 100_000, 1_000_000]) {
    const times: number[] = [];
    for (let repeat = -1; repeat < repeats; repeat++) {
      const kernel = new Kernel();
      let handled = 0;
      kernel.on<number>("event", (at) => {
        if (handled++ < events)
          kernel.schedule((kernel.now + 1 + ((at * 7_919) % (10 * pending))) as Millis, "event", handled);
      });
      for (let i = 0; i < pending; i++) kernel.schedule((i * 10) as Millis, "event", i);
      const begun = performance.now();
      await kernel.run({ until: () => handled >= events });
      if (repeat >= 0) times.push((1e6 * (performance.now() - begun)) / events);
    }
    const nanoseconds = median(times);
    rows.push([pending.toLocaleString("en"), nanoseconds.toFixed(0), (nanoseconds / Math.log2(pending)).toFixed(1)]);
  }
  print(`\n${formatTable(["events pending", "ns/event", "ns per event and log₂"], rows)}`);
}

const inProcess = (size: FleetSize): FleetRun => {
  const file = fileURLToPath(new URL("./fleet-run.ts", import.meta.url));
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ["--expose-gc", "--import", "tsx", file, JSON.stringify(size)],
    {
      encoding: "utf8",
    },
  );
  const line = stdout.split("\n").find((text) => text.startsWith("{"));
  if (line === undefined) throw new Error(`the fleet's process printed nothing: ${stderr}`);
  return JSON.parse(line) as FleetRun;
};

function million(repeats: number): void {
  const runs = Array.from({ length: repeats }, () => inProcess({ clients: 1_000_000, cohort: 1_000, rounds: 100 }));
  const pick = (key: keyof FleetRun) => median(runs.map((run) => run[key]));
  print(
    `\n1,000,000 clients: built in ${pick("buildSeconds").toFixed(1)} s; 100 rounds with cohorts of 1,000 in ` +
      `${pick("runSeconds").toFixed(1)} s (${thousands(pick("events") / pick("runSeconds"))} events/s); ` +
      `at most ${(pick("peakBytes") / 2 ** 20).toFixed(0)} MiB resident`,
  );
}

/** What 10,000 clients cost that are hardly ever invited: live memory, after the garbage has been collected. */
function idleClients(): void {
  const size = { cohort: 16, rounds: 200 };
  const few = inProcess({ clients: 32, ...size }).liveBytes;
  const many = inProcess({ clients: 10_000, ...size }).liveBytes;
  print(`10,000 clients with cohorts of 16 take ${((many - few) / 2 ** 20).toFixed(1)} MiB more than 32 clients`);
}

/** The quickstart with and without its training: what of its time is simulation, trace, books, files, checkpoints? */
async function overhead(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "flame-bench-"));
  try {
    const trained = configure(quickstart, { rounds: 3 });
    const timed = configure(trained, { timingOnly: true });
    const times: number[] = [];
    for (let repeat = 0; repeat < 7; repeat++) {
      times.push((await runScenario(timed, { out: join(folder, `timed-${repeat}`) })).seconds);
    }
    const { seconds, diagnostics } = await runScenario(trained, { out: join(folder, "trained") });
    const checkpoints = diagnostics["checkpoint seconds"] ?? 0;
    const simulation = median(times) + checkpoints;
    print(
      `quickstart, 3 rounds: ${(1_000 * simulation).toFixed(0)} ms of ${seconds.toFixed(1)} s are simulation, ` +
        `${((100 * simulation) / seconds).toFixed(2)} % (${(1_000 * checkpoints).toFixed(0)} ms of it checkpoints)`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}
