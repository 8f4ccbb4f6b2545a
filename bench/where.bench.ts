/**
 * Where does the time of a run go?
 *
 *   npm run bench -- where [--workers <number>]
 *
 * The quickstart and a federation of eight clients run in processes of their own, compiled output up to date, under V8's
 * sampling profiler; a sample is put down to the innermost frame that names a cause. Times are seconds of threads, those
 * in which they wait included; on a busy machine only their shares mean something. What a call does shows in ONNX
 * Runtime's own profile of a training step, the one of that federation.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compiled } from "../bin/compiled.mjs";
import { packageRoot } from "../src/base/places.ts";
import { formatTable } from "../src/report/table.ts";
import { stepKinds } from "./step-kinds.ts";

const scenarios = ["scenarios/quickstart.ts", "bench/federation-scenario.ts"];

export default async function bench(options: string[]): Promise<void> {
  const { values } = parseArgs({ args: options, options: { workers: { type: "string", default: "2" } } });
  const program = await compiled();
  const folder = mkdtempSync(join(tmpdir(), "flame-where-"));
  try {
    for (const scenario of scenarios) {
      const words = ["run", scenario, "--workers", values.workers, "--json", "--out", join(folder, "run")];
      const profiles = join(folder, "profiles");
      const profiling = ["--cpu-prof", "--cpu-prof-interval", "500", "--cpu-prof-dir", profiles];
      const begun = performance.now();
      const { status, stderr } = spawnSync(
        process.execPath,
        [...profiling, join(program, "src/cli/main.js"), ...words],
        { cwd: packageRoot(), encoding: "utf8", maxBuffer: 2 ** 28 },
      );
      if (status !== 0 && status !== 3) throw new Error(`${scenario} ended with ${status}: ${stderr}`);
      const wall = (performance.now() - begun) / 1_000;
      const notes = readFileSync(join(folder, "run", "diagnostics.log"), "utf8");
      const noted = (name: string) => Number(new RegExp(`${name} (\\S+)`).exec(notes)?.[1] ?? 0).toFixed(1);
      process.stdout.write(
        `${scenario}, ${values.workers} workers: ${wall.toFixed(1)} s from start to end, ${noted("cpu seconds")} s of CPU time; ` +
          `workers at training for ${noted("seconds of train")} s, at evaluations for ${noted("seconds of evaluate")} s\n\n`,
      );
      process.stdout.write(`${formatTable(["seconds", "main thread", "workers"], causesIn(profiles), 1)}\n\n`);
      rmSync(folder, { recursive: true });
    }
    process.stdout.write(await stepKinds());
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Frame {
  readonly functionName: string;
  readonly url: string;
  /** From 0 on. */
  readonly lineNumber: number;
  readonly columnNumber: number;
}

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: Frame;
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  /** Microseconds. */
  readonly timeDeltas: readonly number[];
}

/** A cause and how its frames are written, `function file`; the innermost one that fits decides. */
const causes: readonly (readonly [string, RegExp])[] = [
  ["waiting", /^(\(idle\)|atomicsWaitLoop) /],
  ["loading modules", / node:internal\/(modules|bootstrap)\//],
  ["looking ahead, without programs", /^(playAhead|paceOf) /],
  ["programs: graph, autodiff, encoding", /^(#of .*programs|(encode|decode)Program .*codec|emit .*onnx-emitter)/],
  ["programs: sessions of ONNX Runtime", /^OnnxruntimeSessionHandler /],
  ["calls of ONNX Runtime", /backend\.js$/],
  ["garbage collection", /^\(garbage collector\)/],
];

const rest = "the rest";

/** Seconds of each cause, of the main thread and of all others. */
function causesIn(folder: string): string[][] {
  const files = readdirSync(folder);
  const columns = [new Map<string, number>(), new Map<string, number>()] as const;
  for (const file of files) {
    const profile = JSON.parse(readFileSync(join(folder, file), "utf8")) as Profile;
    const isWorker = profile.nodes.some(({ callFrame }) => /piscina.*worker\.js$/.test(callFrame.url));
    // The third kind of thread loads the modules of scenarios in TypeScript.
    const isMain = /\.0\.\d+\.cpuprofile$/.test(file);
    const column = columns[isWorker ? 1 : 0];
    for (const [cause, time] of causesOf(profile)) {
      if (isMain || isWorker || cause !== "waiting") column.set(cause, (column.get(cause) ?? 0) + time);
    }
  }
  return [...causes.map(([cause]) => cause), rest].map((cause) => [
    cause,
    ...columns.map((column) => ((column.get(cause) ?? 0) / 1e6).toFixed(1)),
  ]);
}

function causesOf({ nodes, samples, timeDeltas }: Profile): Map<string, number> {
  const frameOf = new Map(nodes.map(({ id, callFrame }) => [id, inSources(callFrame)]));
  const callerOf = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)));
  const found = new Map<number, string>();
  const causeOf = (id: number): string => {
    const own = causes.find(([, frame]) => frame.test(frameOf.get(id)!))?.[0];
    const caller = callerOf.get(id);
    const cause = own ?? (caller === undefined ? rest : (found.get(caller) ?? causeOf(caller)));
    found.set(id, cause);
    return cause;
  };
  const times = new Map<string, number>();
  for (const [at, id] of samples.entries()) {
    const cause = found.get(id) ?? causeOf(id);
    times.set(cause, (times.get(cause) ?? 0) + timeDeltas[at]!);
  }
  return times;
}

const maps = new Map<string, SourceMap | null>();

/** `function file`. Compiled, modules share files, and names that clash have a number. */
function inSources({ functionName, url, lineNumber, columnNumber }: Frame): string {
  if (!maps.has(url)) {
    const isOwn = url.startsWith("file:") && !url.includes("/node_modules/");
    const path = isOwn ? `${fileURLToPath(url)}.map` : "";
    maps.set(url, existsSync(path) ? new SourceMap(JSON.parse(readFileSync(path, "utf8"))) : null);
  }
  const entry = maps.get(url)?.findEntry(lineNumber, columnNumber) ?? {};
  return "originalSource" in entry
    ? `${functionName.replace(/\d+$/, "")} ${entry.originalSource}`
    : `${functionName} ${url}`;
}
