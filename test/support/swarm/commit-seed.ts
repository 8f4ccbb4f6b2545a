/** Where the seeds of a test run begin: every commit sees others, and one commit always the same. */
import { execFileSync } from "node:child_process";

export interface FirstSeed {
  readonly seed: number;
  /** What it was taken from. */
  readonly from: string;
}

/** The first six digits of the commit's hash; 1 where there is no git, as in an unpacked archive. */
export function firstSeed(): FirstSeed {
  try {
    const [cwd, stdio] = [import.meta.dirname, ["ignore", "pipe", "ignore"] as "ignore"[]];
    const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd, stdio, encoding: "utf8" }).slice(0, 6);
    return { seed: Number.parseInt(commit, 16), from: `commit ${commit}` };
  } catch {
    return { seed: 1, from: "no commit" };
  }
}
