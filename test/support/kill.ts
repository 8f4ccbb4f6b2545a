/** Kills a run at some moment, as a preempted machine would, and has it resumed: by processes of their own, as a user. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { start } from "./command-process.ts";

export interface Assassination {
  /** The scenario's file, and where its run goes. */
  readonly file: string;
  readonly out: string;
  /** Real milliseconds from when the folder is a run to each kill; the last process is left alone. */
  readonly delays: readonly number[];
  /** Worker threads of each process in turn; the last number stands for all that follow. */
  readonly workers: readonly number[];
}

export interface Aftermath {
  /** Processes that were killed; those that ended first were not. */
  readonly kills: number;
  /** Rounds that were closed at each kill, −1 before the first. */
  readonly rounds: readonly number[];
  /** What the last process said, and its exit code. */
  readonly code: number;
  readonly said: string;
}

export async function killAndResume({ file, out, delays, workers }: Assassination): Promise<Aftermath> {
  const rounds: number[] = [];
  for (let attempt = 0; ; attempt++) {
    // A process that was killed before there was a run has left nothing to resume.
    const isRun = existsSync(join(out, "scenario.json"));
    const how = ["--workers", String(workers[Math.min(attempt, workers.length - 1)])];
    const child = start(isRun ? ["resume", out, ...how] : ["run", file, "--out", out, ...how]);
    const delay = delays[attempt];
    if (delay === undefined) {
      const { code, out: said, err } = await child.ended;
      return { kills: rounds.length, rounds, code, said: `${said}${err}` };
    }
    const ended = child.ended.then(() => true);
    let hasEnded = false;
    while (!hasEnded && !existsSync(join(out, "scenario.json"))) hasEnded = await Promise.race([ended, tick()]);
    if (!hasEnded) hasEnded = await Promise.race([ended, sleep(delay, false)]);
    if (hasEnded) {
      const { code, out: said, err } = await child.ended;
      return { kills: rounds.length, rounds, code, said: `${said}${err}` };
    }
    child.process.kill("SIGKILL");
    await child.ended;
    rounds.push(closedRounds(out));
  }
}

const tick = async (): Promise<boolean> => {
  await sleep(2);
  return false;
};

function closedRounds(out: string): number {
  const path = join(out, "metrics.jsonl");
  return existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 2 : -1;
}
