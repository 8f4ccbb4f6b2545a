/**
 * Continues a run from its newest good checkpoint. What it then writes is byte for byte what an uninterrupted run
 * would have written.
 */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { makeFolder, onDisk } from "../base/disk.ts";
import { InputError, ScenarioError } from "../base/errors.ts";
import { parseJson } from "../base/json.ts";
import { largestText, readText } from "../base/text.ts";
import { flawOfFile } from "../folder/line-file.ts";
import { awaitLock } from "../folder/lock.ts";
import { filesIn, openRunFolder, type RunFolder, readRecord } from "../folder/run-folder.ts";
import { type Checkpoint, differences, newestCheckpoint, remarkOn, setAside } from "../folder/saved-state.ts";
import { hasCode, type Scenario, scenarioFromJson, scenarioToJson } from "../scenario/define.ts";
import { openDiagnostics } from "./diagnostics.ts";
import { guardScenario } from "./guard.ts";
import { provenanceOf, type ScenarioSource } from "./provenance.ts";
import type { RunResult } from "./result.ts";
import { playRun, prepareRun, type RunOptions } from "./run.ts";

export interface ResumeOptions extends Omit<RunOptions, "out"> {
  /** Continues although program, scenario, model or engine have changed, and marks the run. */
  readonly force?: boolean;
}

export interface LoadedRun {
  readonly folder: RunFolder;
  readonly scenario: Scenario;
  /** Where the scenario was loaded from again, when its scenario.json does not hold all of it. */
  readonly source?: ScenarioSource;
}

/** Loads a scenario from its file, with the changes of the command line, and says what the file's digest is now. */
export type Reload = (source: ScenarioSource, name: string) => Promise<{ scenario: Scenario; digest: string }>;

/**
 * @param reload for scenarios with functions of their author's
 * @throws InputError when the folder holds no run; ScenarioError when it was made with code and cannot be reloaded
 */
export async function loadRun(path: string, reload?: Reload): Promise<LoadedRun> {
  const folder = openRunFolder(path);
  const text = readText(folder.scenario, largestText);
  const value = parseJson(text, folder.scenario);
  const source = readRecord(folder)?.source ?? null;
  if (reload === undefined || source === null || typeof value !== "object" || value === null || !hasCode(text)) {
    return { folder, scenario: scenarioFromJson(value) };
  }
  const { scenario, digest } = await reload(source, String((value as { name?: unknown }).name));
  if (scenarioToJson(scenario) !== text) {
    throw new InputError(`${source.file} no longer gives the scenario that ${folder.scenario} records`);
  }
  return { folder, scenario, source: { ...source, digest } };
}

export async function resume(run: LoadedRun, options: ResumeOptions = {}): Promise<RunResult> {
  const { folder } = run;
  const scenario = guardScenario(run.scenario);
  const note = (text: string) => options.listen?.({ type: "note", text });
  const lock = await awaitLock(folder.lock, note);
  try {
    const record = readRecord(folder);
    if (record?.state === "finished") throw new ScenarioError(`the run in ${folder.path} has finished`);
    const diagnostics = openDiagnostics(folder.diagnostics);
    const chosen: RunOptions = {
      ...options,
      engine: options.engine ?? record?.engine ?? "auto",
      merge: options.merge ?? record?.merge ?? "auto",
      ...given("reproduce", options.reproduce ?? record?.reproduce),
      ...given("source", run.source ?? record?.source ?? undefined),
    };
    const prepared = await prepareRun(scenario, chosen);
    const now = provenanceOf(scenario, chosen, prepared);
    const damaged: string[] = [];
    const checkpoint = newestCheckpoint(
      folder.checkpoints,
      (damage, name) => {
        damaged.push(name);
        diagnostics.note("checkpoint", damage);
        note(`${damage}; the one before it is tried`);
      },
      (found) => flawOf(found, folder),
    );
    if (checkpoint === null && damaged.length > 0) note("no good checkpoint is left: the run begins again");
    const changes = checkpoint === null ? [] : differences(checkpoint.made, now);
    if (changes.length > 0 && options.force !== true) {
      throw new InputError(
        `the run in ${folder.path} cannot be continued: ${changes.join("; ")}. ` +
          "Its results would mix the two; --force continues it anyway and marks the run",
      );
    }
    // Whoever needed the space may have removed the whole folder.
    onDisk(`cannot write to ${folder.checkpoints}`, () => makeFolder(folder.checkpoints));
    for (const name of damaged) setAside(folder.checkpoints, name);
    for (const name of filesIn(folder.checkpoints, ".tmp")) rmSync(join(folder.checkpoints, name));
    const remark = checkpoint === null ? null : remarkOn(checkpoint.made, now);
    const despite = [...(record?.continuedDespite ?? []), ...changes, ...(remark === null ? [] : [remark])];
    const from = { folder, checkpoint, despite: [...new Set(despite)] };
    return await playRun({ scenario, prepared, options: chosen, diagnostics, folder, lock, from });
  } finally {
    lock.release();
  }
}

/** A checkpoint speaks of files that grow; where a disk lost their ends or garbled them, an older one may still hold. */
function flawOf({ files }: Checkpoint, folder: RunFolder): string | null {
  for (const name of ["events", "metrics", "participations"] as const) {
    const flaw = flawOfFile(folder[name], files[name]);
    if (flaw !== null) return flaw;
  }
  return null;
}

const given = <Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } =>
  value === undefined ? {} : ({ [key]: value } as { [K in Key]?: Value });
