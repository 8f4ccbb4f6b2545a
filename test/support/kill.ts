/** Kills a run at some moment, as a preempted machine would, and has it resumed: by processes of their own, as a user. */
import { existsSync, type FSWatcher, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type programs, start } from "./command-process.ts";
import { halfWritten, stageOf } from "./run-folders.ts";

/**
 * When a process is killed: so many real milliseconds after it was started, or after it had the run's lock; or as soon
 * as it begins its n-th file, a checkpoint or any other that is written under a temporary name first.
 */
export type Moment = { readonly afterStart: number } | { readonly afterLock: number } | { readonly onFile: number };

export interface Assassination {
  /** The scenario's file, and where its run goes. */
  readonly file: string;
  readonly out: string;
  /** One for each process that is to be killed; the last process is left alone. */
  readonly moments: readonly Moment[];
  /** Worker threads of each process in turn; the last number stands for all that follow. */
  readonly workers: readonly number[];
  readonly program?: keyof typeof programs;
}

export interface Aftermath {
  /** How far the run had come at each kill; processes that ended first were not killed. */
  readonly stages: readonly string[];
  /** Files that were half written at a kill. */
  readonly halves: readonly string[];
  /** What the last process said, and its exit code. */
  readonly code: number;
  readonly said: string;
  /** Real milliseconds that the last process took, and that it took until it had the lock. */
  readonly took: number;
  readonly startUp: number;
}

export async function killAndResume({ file, out, moments, workers, program }: Assassination): Promise<Aftermath> {
  const stages: string[] = [];
  const halves: string[] = [];
  for (let attempt = 0; ; attempt++) {
    // A process that was killed before there was a run has left nothing to resume.
    const isRun = existsSync(join(out, "scenario.json"));
    const how = ["--workers", String(workers[Math.min(attempt, workers.length - 1)])];
    const begun = performance.now();
    const child = start(isRun ? ["resume", out, ...how] : ["run", file, "--out", out, ...how], {}, program);
    const moment = moments[attempt];
    if (moment !== undefined) {
      const over = new AbortController();
      const ended = child.ended.then(() => "ended" as const);
      const what = await Promise.race([ended, comes(moment, out, child.process.pid!, over.signal)]);
      over.abort();
      if (what === "now") {
        child.process.kill("SIGKILL");
        await child.ended;
        stages.push(stageOf(out));
        halves.push(...halfWritten(out));
        continue;
      }
    }
    const over = new AbortController();
    const startUp = isLocked(out, child.process.pid!, over.signal).then(
      () => performance.now() - begun,
      () => 0,
    );
    const { code, out: said, err } = await child.ended;
    over.abort();
    const took = performance.now() - begun;
    return { stages, halves, code, said: `${said}${err}`, took, startUp: await startUp };
  }
}

async function comes(moment: Moment, out: string, pid: number, signal: AbortSignal): Promise<"now" | "never"> {
  try {
    if ("afterStart" in moment) return await sleep(moment.afterStart, "now" as const, { signal });
    if ("onFile" in moment) return await fileBegun(out, moment.onFile, signal);
    await isLocked(out, pid, signal);
    return await sleep(moment.afterLock, "now" as const, { signal });
  } catch {
    return "never";
  }
}

async function exists(path: string, signal: AbortSignal): Promise<void> {
  while (!existsSync(path)) await sleep(2, undefined, { signal });
}

async function isLocked(out: string, pid: number, signal: AbortSignal): Promise<void> {
  const lock = join(out, "lock");
  for (;;) {
    await exists(lock, signal);
    try {
      if ((JSON.parse(readFileSync(lock, "utf8")) as { process: number }).process === pid) return;
    } catch {
      // It has just gone.
    }
    await sleep(2, undefined, { signal });
  }
}

async function fileBegun(out: string, number: number, signal: AbortSignal): Promise<"now"> {
  await exists(join(out, "checkpoints"), signal);
  const watchers: FSWatcher[] = [];
  try {
    return await new Promise((resolve, reject) => {
      let begun = 0;
      signal.addEventListener("abort", () => reject(signal.reason));
      for (const folder of [out, join(out, "checkpoints")]) {
        const watcher = watch(folder, (event, name) => {
          // A name that comes and one that goes are told alike.
          if (event === "rename" && name?.endsWith(".tmp") && ++begun >= 2 * number - 1) resolve("now");
        });
        watchers.push(watcher);
      }
    });
  } finally {
    for (const watcher of watchers) watcher.close();
  }
}
