/** Runs a scenario under the eyes of a user: display, Ctrl-C, exit code. */

import { writeReport } from "../report/report.ts";
import { writeTimeline } from "../report/timeline.ts";
import type { Scenario } from "../scenario/define.ts";
import type { RunResult } from "../scenario/result.ts";
import { loadRun, type ResumeOptions, resume } from "../scenario/resume.ts";
import { type RunOptions, run } from "../scenario/run.ts";
import { openDisplay } from "./display.ts";
import { exitCodes } from "./failure.ts";

interface Looks {
  readonly json: boolean;
  readonly quiet: boolean;
}

export const watchRun = ({ json, quiet, scenario, ...options }: Looks & RunOptions & { scenario: Scenario }) =>
  watch({ json, quiet }, (more) => run(scenario, { ...options, ...more }));

export const watchResume = ({ json, quiet, folder, ...options }: Looks & ResumeOptions & { folder: string }) =>
  watch({ json, quiet }, async (more) => resume(await loadRun(folder), { ...options, ...more }));

type Watched = Required<Pick<RunOptions, "signal" | "listen">>;

async function watch(looks: Looks, start: (options: Watched) => Promise<RunResult>): Promise<RunResult> {
  const display = openDisplay(looks);
  const abort = new AbortController();
  const interrupt = () => {
    // The second one does not wait for a checkpoint.
    if (abort.signal.aborted) process.exit(exitCodes.interrupted);
    abort.abort();
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  try {
    const result = await start({ signal: abort.signal, listen: display.listen });
    if (result.state === "finished" && result.folder !== null) {
      writeTimeline(result.folder);
      writeReport(result.folder);
    }
    if (result.state === "interrupted") process.exitCode = exitCodes.interrupted;
    else if (result.expectations.some(({ held }) => !held)) process.exitCode = exitCodes.expectationsNotMet;
    return result;
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
    display.close();
  }
}
