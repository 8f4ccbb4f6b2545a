/**
 * Continues a run from its newest good checkpoint. What it then writes is byte for byte what an uninterrupted run
 * would have written.
 */
import { closeSync } from "node:fs";
import { makeFolder, onDisk, writeAtomically } from "../base/disk.ts";
import { InputError, ScenarioError } from "../base/errors.ts";
import { fieldDifferences, isObject } from "../base/field-differences.ts";
import { parseJson } from "../base/json.ts";
import { openToAppend } from "../base/open.ts";
import { show } from "../base/problem.ts";
import { readText } from "../base/text.ts";
import { whileHeld } from "../folder/held.ts";
import { awaitLock } from "../folder/lock.ts";
import { differences, type Places, remarkOn } from "../folder/provenance.ts";
import { flawOfFiles } from "../folder/run-files.ts";
import {
  largestScenario,
  openRunFolder,
  type RunFolder,
  readRecord,
  readResult,
  removeHalfWritten,
} from "../folder/run-folder.ts";
import { newestCheckpoint, setAside } from "../folder/saved-state.ts";
import { hasCode, type Scenario, scenarioFromJson, scenarioToJson } from "../scenario/define.ts";
import { withPaths } from "../scenario/paths.ts";
import { pathOf } from "../tasks/sources.ts";
import { openDiagnostics } from "./diagnostics.ts";
import { guardScenario } from "./guard.ts";
import type { RunOptions } from "./options.ts";
import { provenanceOf, type ScenarioSource } from "./provenance.ts";
import type { RunResult } from "./result.ts";
import { playRun, prepareRun } from "./run.ts";
import { reach, requireMemory } from "./workforce.ts";

export interface ResumeOptions extends Omit<RunOptions, "out"> {
  /** Continues although program, scenario, model or engine have changed, and marks the run. */
  readonly force?: boolean;
}

export interface LoadedRun {
  /** @internal */
  readonly folder: RunFolder;
  readonly scenario: Scenario;
  /** Where the scenario was loaded from again, when its scenario.json does not hold all of it. */
  readonly source?: ScenarioSource;
  /** How the file now gives another scenario than scenario.json records; empty when it does not. */
  readonly changed: readonly string[];
}

/** Loads a scenario again from the file it came from, or from the one that the user names instead. */
export type Reload = (run: StoredCode) => Promise<{ scenario: Scenario; source: ScenarioSource }>;

/** What a run's folder says of code that it does not hold. */
export interface StoredCode {
  /** @internal */
  readonly folder: RunFolder;
  readonly source: ScenarioSource;
  /** Of the scenario, among those of its file. */
  readonly name: string;
}

/**
 * @param reload for scenarios with functions of their author's
 * @throws InputError when the folder holds no run; ScenarioError when it was made with code and cannot be reloaded
 */
export async function loadRun(path: string, reload?: Reload): Promise<LoadedRun> {
  const folder = openRunFolder(path);
  const text = readText(folder.scenario, largestScenario, "refused");
  const value = parseJson(text, folder.scenario);
  const stored = readRecord(folder)?.source ?? null;
  if (reload === undefined || stored === null || !isObject(value) || !hasCode(text)) {
    return { folder, scenario: scenarioFromJson(value), changed: [] };
  }
  const name = String(value.name);
  const { scenario, source } = await reload({ folder, source: stored, name });
  const changed = fieldDifferences(unclaimed(value), unclaimed(JSON.parse(scenarioToJson(scenario)))).map(
    ({ path: field, a, b }) => `${source.file} now gives another ${field}: expected ${show(a)}, found ${show(b)}`,
  );
  return { folder, scenario, source, changed };
}

/** A scenario.json without what it expects of the run, which may be mended at any time. */
function unclaimed({ own, ...fields }: Readonly<Record<string, unknown>>): unknown {
  const code = Array.isArray(own) ? own.filter((part) => !String(part).startsWith('expect "')) : own;
  return { ...fields, expect: [], own: code };
}

export async function resume(run: LoadedRun, options: ResumeOptions = {}): Promise<RunResult> {
  const { folder } = run;
  const scenario = guardScenario(run.scenario);
  const note = (text: string) => options.listen?.({ type: "note", text });
  const lock = await awaitLock(folder.lock, note);
  let closeRemote = async (): Promise<void> => {};
  return whileHeld(folder, lock, async () => {
    const record = readRecord(folder);
    if (record?.state === "finished" && !awaitsJudgement(folder))
      throw new ScenarioError(`the run in ${folder.path} has finished`);
    onDisk(`cannot write to ${folder.path}`, () => closeSync(openToAppend(folder.diagnostics)));
    const diagnostics = openDiagnostics(folder.diagnostics);
    const chosen: RunOptions = {
      ...options,
      engine: options.engine ?? record?.made.engine ?? "auto",
      merge: options.merge ?? record?.merge ?? "auto",
      ...given("reproduce", options.reproduce ?? record?.reproduce),
      ...given("source", run.source ?? record?.source ?? undefined),
      ...given("startedIn", options.startedIn ?? record?.startedIn),
    };
    const prepared = await prepareRun(scenario, chosen);
    if (options.force !== true) requireMemory(prepared, chosen);
    const { elsewhere, close } = await reach(prepared, chosen);
    closeRemote = close;
    const now = provenanceOf(scenario, chosen, prepared);
    const damaged: string[] = [];
    const checkpoint = newestCheckpoint(
      folder.checkpoints,
      (damage, name) => {
        damaged.push(name);
        diagnostics.note("checkpoint", damage);
        note(`${damage}; the one before it is tried`);
      },
      // Where files that grow have lost their ends, an older one may still hold.
      ({ files }) => flawOfFiles(folder, files),
    );
    if (checkpoint === null && damaged.length > 0) note("no good checkpoint is left: the run begins again");
    // A run that begins again may do so with another program, and not as another run.
    const before = checkpoint?.made ?? { ...now, scenario: record?.made.scenario ?? now.scenario };
    const made = differences(before, now, placesOf(scenario, chosen));
    const changes = [...run.changed, ...made];
    if (changes.length > 0 && options.force !== true) {
      throw new InputError(
        `the run in ${folder.path} cannot be continued: ${changes.join("; ")}. ` +
          "Its results would mix the two; --force continues it anyway and marks the run",
      );
    }
    // Claims may have changed besides.
    if (run.source !== undefined) writeAtomically(folder.scenario, scenarioToJson(scenario));
    // Whoever needed the space may have removed the whole folder.
    onDisk(`cannot write to ${folder.checkpoints}`, () => makeFolder(folder.checkpoints));
    for (const name of damaged) setAside(folder.checkpoints, name);
    removeHalfWritten(folder.checkpoints);
    const remark = checkpoint === null ? null : remarkOn(checkpoint.made, now);
    const despite = [...(record?.continuedDespite ?? []), ...changes, ...(remark === null ? [] : [remark])];
    const from = { folder, checkpoint, despite: [...new Set(despite)] };
    return playRun({ scenario, prepared, options: chosen, diagnostics, folder, lock, from, elsewhere });
  }).finally(() => closeRemote());
}

/** A run has finished with a claim that could not be judged: mended, it is judged by going on from the last checkpoint. */
export const awaitsJudgement = (folder: RunFolder): boolean =>
  readResult(folder)?.expectations.some(({ threw }) => threw === true) === true;

function placesOf({ data }: Scenario, { source, startedIn = "." }: RunOptions): Places {
  const { model, warmStart, data: examples } = withPaths(data, startedIn);
  return {
    ...(source === undefined ? {} : { source: source.file }),
    ...given("data", pathOf(examples.source)),
    ...given("warmStart", warmStart),
    ...(typeof model === "string" && model !== "embedded" ? { model } : {}),
  };
}

const given = <Key extends string, Value>(key: Key, value: Value | undefined): { [K in Key]?: Value } =>
  value === undefined ? {} : ({ [key]: value } as { [K in Key]?: Value });
