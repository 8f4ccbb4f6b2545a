/** Runs a scenario under the eyes of a user: display, Ctrl-C, exit code. */

import { existsSync } from "node:fs";
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { readJsonAs } from "../../base/json.ts";
import { awaitLock } from "../../folder/lock.ts";
import { largestScenario, openRunFolder, readRecord, readResult } from "../../folder/run-folder.ts";
import type { RunOptions } from "../../run/options.ts";
import type { ProgressListener } from "../../run/progress.ts";
import type { RunResult } from "../../run/result.ts";
import { awaitsJudgement, loadRun, type ResumeOptions, resume } from "../../run/resume.ts";
import { run } from "../../run/run.ts";
import type { Scenario } from "../../scenario/define.ts";
import { type Consent, reloadWith } from "../../study/consent.ts";
import { openDisplay } from "./display.ts";
import { exitCodes } from "./failure.ts";
import { onInterrupt } from "./interrupt.ts";

interface Looks {
  readonly json: boolean;
  readonly quiet: boolean;
}

export const watchRun = ({ json, quiet, scenario, ...options }: Looks & RunOptions & { scenario: Scenario }) =>
  watch({ json, quiet }, scenario, (more) => run(scenario, { ...options, ...more }));

type ResumeWatch = Looks & ResumeOptions & { readonly folder: string; readonly consent: Consent };

/** Null for a run that has finished already: then only what is missing of its report is made. */
export async function watchResume(options: ResumeWatch): Promise<RunResult | null> {
  const { json, quiet, folder, consent, ...rest } = options;
  if (isFinished(folder)) return finishReport(folder, { json, quiet });
  // Before the display: the user may have to be asked.
  const loaded = await loadRun(folder, reloadWith(consent));
  return watch({ json, quiet }, loaded.scenario, (more) => resume(loaded, { ...rest, ...more }));
}

function isFinished(path: string): boolean {
  const folder = openRunFolder(path);
  return readRecord(folder)?.state === "finished" && !awaitsJudgement(folder);
}

/** A process may be killed after its run has finished, before it lets go of the lock or before its report is written. */
async function finishReport(path: string, { json, quiet }: Looks): Promise<null> {
  const folder = openRunFolder(path);
  const display = openDisplay({ json, quiet });
  try {
    const missing = [folder.timeline, folder.report].filter((file) => !existsSync(file));
    if (missing.length > 0 || existsSync(folder.lock)) {
      const lock = await awaitLock(folder.lock, (text) => display.listen({ type: "note", text }));
      try {
        if (missing.includes(folder.timeline)) await writeTimeline(folder.path);
        if (missing.includes(folder.report)) await writeReport(folder.path);
      } finally {
        lock.release();
      }
    }
    const result = readResult(folder);
    if (result === null) throw new InputError(`the run in ${path} has finished, but its result.json is gone`);
    judge(result, readJsonAs(recordedSchema, folder.scenario, largestScenario, "refused").training);
    display.listen({ type: "note", text: `the run in ${path} has finished already` });
  } finally {
    display.close();
  }
  return null;
}

const recordedSchema = z.looseObject({ training: z.looseObject({ mayDiverge: z.boolean().exactOptional() }) });

/** Gives a run that has finished its exit code; one of several scenarios does not take away that of another. */
function judge(
  { divergedIn, expectations }: Pick<RunResult, "divergedIn" | "expectations">,
  { mayDiverge = false }: Pick<Scenario["data"]["training"], "mayDiverge">,
): void {
  if (divergedIn !== null && !mayDiverge) process.exitCode = exitCodes.diverged;
  else if (expectations.some(({ held }) => !held)) process.exitCode = exitCodes.expectationsNotMet;
}

type Watched = Required<Pick<RunOptions, "signal" | "listen">>;

async function watch(
  looks: Looks,
  { data: { training } }: Scenario,
  start: (options: Watched) => Promise<RunResult>,
): Promise<RunResult> {
  const display = openDisplay(looks);
  const abort = new AbortController();
  let interrupted: number = exitCodes.interrupted;
  // A second one does not wait for a checkpoint.
  const listening = await onInterrupt((exitCode) => {
    interrupted = exitCode;
    abort.abort();
  });
  listening.leave({ words: "ended before the run was under way", atOnce: true });
  const listen: ProgressListener = (progress) => {
    display.listen(progress);
    // While workers end; what goes wrong is heard of by who waits for it.
    if (progress.type === "ended" && leavesReport(progress.result))
      void Promise.all([loadTimeline(), loadReport()]).catch(ignore);
    if (progress.type !== "began" || progress.folder === null) return;
    const words = `ended at once; continue with: npx flame resume ${progress.folder}`;
    listening.leave({ words, record: openRunFolder(progress.folder).record, atOnce: false });
  };
  // A file-size limit is then an error of the write, which says so, and not the end of the process.
  process.on("SIGXFSZ" as NodeJS.Signals, ignore);
  try {
    const result = await start({ signal: abort.signal, listen });
    if (leavesReport(result)) {
      await writeTimeline(result.folder);
      await writeReport(result.folder);
    }
    if (result.state === "interrupted") process.exitCode = interrupted;
    else judge(result, training);
    return result;
  } finally {
    listening.deafen();
    process.off("SIGXFSZ" as NodeJS.Signals, ignore);
    display.close();
  }
}

type Finished = RunResult & { readonly folder: string };

const leavesReport = (result: RunResult): result is Finished => result.state === "finished" && result.folder !== null;

// What draws plots takes longer to load than everything else, and a run needs it last.
const loadTimeline = () => import("../../report/timeline.ts");
const loadReport = () => import("../../report/report.ts");
const writeTimeline = async (folder: string) => (await loadTimeline()).writeTimeline(folder);
const writeReport = async (folder: string) => (await loadReport()).writeReport(folder);

const ignore = (): void => {};
