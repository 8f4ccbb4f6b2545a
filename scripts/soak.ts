/**
 * A run of a thousand rounds: does it take more memory at its end than at its beginning?
 *
 *   npm run soak                         trains a tiny model with the real engine, in foul weather
 *   npm run soak -- --rounds 5000 --kind timing
 *
 * Heap and array buffers are those of the simulating thread after a full collection; RSS is that of the whole process,
 * workers and native code included. None of them may grow by a fifth, however many rounds there are.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { formatBytes } from "../src/base/units.ts";
import { run } from "../src/run/run.ts";
import type { Scenario } from "../src/scenario/define.ts";
import { training } from "../test/support/scenarios.ts";
import { tinyModel } from "../test/support/tiny-model.ts";
import { foulWeather, stormy } from "../test/support/weather.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    kind: { type: "string", default: "training" },
    workers: { type: "string", default: "2" },
  },
});
const rounds = Number(values.rounds);
const folder = mkdtempSync(join(tmpdir(), "flame-soak-"));
process.env.XDG_CACHE_HOME = join(folder, "cache");

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

interface Sample {
  readonly round: number;
  readonly heap: number;
  readonly buffers: number;
  readonly rss: number;
  /** Milliseconds of CPU a round since the last sample. */
  readonly time: number;
}

const samples: Sample[] = [];
const every = Math.max(1, Math.floor(rounds / 20));
const begun = performance.now();
let since = { ...process.cpuUsage(), round: 0 };
await run(scenario(), {
  out: join(folder, "run"),
  workers: Number(values.workers),
  listen: (progress) => {
    if (progress.type !== "round" || progress.row.round % every !== 0) return;
    const { round } = progress.row;
    const { user, system } = process.cpuUsage(since);
    const time = (user + system) / 1_000 / Math.max(1, round - since.round);
    collect();
    const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
    const sample = { round, heap: heapUsed, buffers: arrayBuffers, rss, time };
    since = { ...process.cpuUsage(), round };
    samples.push(sample);
    console.log(show(sample));
  },
});
rmSync(folder, { recursive: true, force: true });

// The first fifth is what a program needs until it is warm.
const warm = samples.filter(({ round }) => round >= rounds / 5);
const half = Math.floor(warm.length / 2);
const mean = (part: readonly Sample[], key: "heap" | "buffers" | "rss") =>
  part.reduce((sum, sample) => sum + sample[key], 0) / part.length;
/** What collections leave may differ by as much from one time to the next. */
const noise = 5e6;
let isFlat = true;
for (const key of ["heap", "buffers", "rss"] as const) {
  const [before, after] = [mean(warm.slice(0, half), key), mean(warm.slice(half), key)];
  const grown = after - before;
  if (grown > 0.2 * before && grown > noise) isFlat = false;
  console.log(
    `${key}: ${signed(grown)} (${((100 * grown) / before).toFixed(1)} %) from the first to the second half of rounds ` +
      `${rounds / 5} to ${rounds}`,
  );
}
console.log(
  `${isFlat ? "flat" : "NOT FLAT"} over ${rounds} rounds in ${((performance.now() - begun) / 1_000).toFixed(0)} s`,
);
process.exitCode = isFlat ? 0 : 1;

function scenario(): Scenario {
  // Nobody leaves for good, or the fleet would be empty long before the end.
  const { churn: _, ...world } = foulWeather(3);
  if (values.kind === "timing") return stormy(5, { rounds: { count: rounds, cohort: 8, deadline: 60_000 }, world });
  return training(tinyModel(folder), {
    rounds: { count: rounds, cohort: 4, deadline: 60_000 },
    training: { batchSize: 4, maxSteps: 1 },
    world,
    regions: [
      { name: "north", share: 1 },
      { name: "south", share: 1 },
    ],
    evaluateAt: [1],
    evaluateEvery: 10,
    evaluationExamples: 8,
  });
}

function show({ round, heap, buffers, rss, time }: Sample): string {
  const memory = [`heap ${formatBytes(heap)}`, `buffers ${formatBytes(buffers)}`, `RSS ${formatBytes(rss)}`];
  const columns = [...memory, `${time.toFixed(2)} ms of CPU a round`];
  return `round ${String(round).padStart(5)}  ${columns.map((text) => text.padEnd(18)).join("")}`;
}

function signed(bytes: number): string {
  return `${bytes < 0 ? "−" : "+"}${formatBytes(Math.abs(bytes))}`;
}
