/**
 * Continues a run from its newest good checkpoint. What it then writes is byte for byte what an uninterrupted run
 * would have written.
 */
import { readFileSync } from "node:fs";
import { InputError, messageOf, ScenarioError } from "../base/errors.ts";
import { differences, newestCheckpoint } from "./checkpoint.ts";
import { type Scenario, scenarioFromJson } from "./define.ts";
import { openDiagnostics } from "./diagnostics.ts";
import { acquireLock } from "./lock.ts";
import type { RunResult } from "./result.ts";
import { carryOn, prepareRun, provenanceOf, type RunOptions } from "./run.ts";
import { onDisk, openRunFolder, type RunFolder, readRecord } from "./run-folder.ts";

export interface ResumeOptions extends Omit<RunOptions, "out"> {
  /** Continues although program, scenario, model or engine have changed, and marks the run. */
  readonly force?: boolean;
}

export interface LoadedRun {
  readonly folder: RunFolder;
  readonly scenario: Scenario;
}

/** @throws InputError when the folder holds no run; ScenarioError when it was made with code a file cannot hold */
export async function loadRun(path: string): Promise<LoadedRun> {
  const folder = openRunFolder(path);
  const text = onDisk(`cannot read ${folder.scenario}`, () => readFileSync(folder.scenario, "utf8"));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${folder.scenario} is not JSON: ${messageOf(cause)}`, { cause });
  }
  return { folder, scenario: scenarioFromJson(value) };
}

export async function resume({ folder, scenario }: LoadedRun, options: ResumeOptions = {}): Promise<RunResult> {
  const record = readRecord(folder);
  if (record?.state === "finished") throw new ScenarioError(`the run in ${folder.path} has finished`);
  const lock = acquireLock(folder.lock);
  try {
    const diagnostics = openDiagnostics(folder.diagnostics);
    const engine = options.engine ?? record?.engine ?? "auto";
    const reproduce = options.reproduce ?? record?.reproduce;
    const settled: RunOptions = { ...options, engine, ...(reproduce === undefined ? {} : { reproduce }) };
    const prepared = await prepareRun(scenario, settled);
    const checkpoint = newestCheckpoint(folder.checkpoints, (damage) => {
      diagnostics.note("checkpoint", damage);
      options.listen?.({ type: "note", text: `${damage}; the one before it is used` });
    });
    const despite = checkpoint === null ? [] : differences(checkpoint.made, provenanceOf(scenario, settled, prepared));
    if (despite.length > 0 && options.force !== true) {
      throw new InputError(
        `the run in ${folder.path} cannot be continued: ${despite.join("; ")}. ` +
          "Its results would mix the two; --force continues it anyway and marks the run",
      );
    }
    const from = { folder, checkpoint, despite: [...(record?.continuedDespite ?? []), ...despite] };
    return await carryOn({ scenario, prepared, options: settled, diagnostics, folder, from });
  } finally {
    lock.release();
  }
}
