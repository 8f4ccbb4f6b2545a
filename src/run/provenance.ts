/** What a run is made of, so that nobody continues it with something else. */

import { cpus } from "node:os";
import { resolve } from "node:path";
import { sha256 } from "../base/digest.ts";
import { chooseEngine, mergeLimit } from "../engine/create.ts";
import { gpuName } from "../engine/gpu.ts";
import { formatMerge, type MergeLimit } from "../engine/merge-limit.ts";
import { engineNameOf } from "../engine/names.ts";
import type { Provenance } from "../folder/provenance.ts";
import { defaultCommand, type RunRecord } from "../folder/run-folder.ts";
import { hasCode, type Scenario, scenarioToJson, withoutClaims } from "../scenario/define.ts";
import type { ScenarioData } from "../scenario/schema.ts";
import { codeDigest, programVersion } from "./package.ts";
import type { Prepared } from "./prepare.ts";

/** A file that gives the scenario again, functions and all. */
export interface ScenarioSource {
  readonly file: string;
  /** SHA-256 of its bytes, or of those of all files it is made of. */
  readonly digest: string;
  /** What the command line changed. */
  readonly changes: Readonly<Record<string, unknown>>;
}

/** How a run was asked to be made. */
export interface Making {
  readonly engine?: string;
  readonly merge?: "auto" | MergeLimit;
  readonly source?: ScenarioSource;
  /** Whether workers with any processor train. */
  readonly mixedHardware?: boolean;
}

/** What else a run's folder says of how it came about. */
interface Origin extends Making {
  readonly reproduce?: string;
  readonly startedIn?: string;
}

/** What tells a worker from others whose results may differ from its own in the last digits. */
export function traitsOfMachine(): { program: string; code: string; processor: string; gpu: string } {
  return { program: programVersion(), code: codeDigest(), processor: processor(), gpu: gpuName() ?? "none" };
}

/** What a run needs of workers elsewhere: the same program, and the kind of device that trains here. */
export function needsOf(gpu: boolean, mixedHardware: boolean): Readonly<Record<string, string>> {
  const { program, code, ...device } = traitsOfMachine();
  const kind = gpu ? { gpu: device.gpu } : { processor: device.processor };
  return { program, code, ...(mixedHardware ? {} : kind) };
}

const processor = (): string => `${process.arch}, ${cpus()[0]?.model ?? "unknown"}`;

/** What a run has to have in common with the one that continues it. */
export function provenanceOf(
  scenario: Scenario,
  { engine = "auto", merge = "auto", source, mixedHardware = false }: Making,
  { training, inputs }: Prepared,
): Provenance {
  const json = scenarioToJson(withoutClaims(scenario));
  const choice = training === null ? null : chooseEngine(engineNameOf(engine));
  const { data, tokenizer, template, model } = inputs;
  // In the order of the schema: the seal of a result is over its text.
  return {
    program: programVersion(),
    code: codeDigest(),
    scenario: sha256(json),
    source: hasCode(json) ? (source?.digest ?? null) : null,
    traces: tracesDigest(scenario.data),
    data,
    tokenizer,
    template,
    model,
    ...(training?.start && { warmStart: training.start.digest }),
    engine: choice?.engine ?? null,
    merge: choice === null ? null : formatMerge(mergeLimit(merge, choice.gpu)),
    machine: training === null ? null : processor(),
    ...(training !== null && mixedHardware ? { mixedHardware: true } : {}),
  };
}

/** They are in the scenario's JSON as well; on their own it shows that they are what has changed. */
function tracesDigest({ fleet, world, calibration }: ScenarioData): string | null {
  const recorded: unknown[] = [
    ...fleet.map(({ trace }) => trace),
    ...world.availability.filter(({ type }) => type === "trace"),
    calibration,
  ].filter((part) => part !== undefined);
  return recorded.length === 0 ? null : sha256(JSON.stringify(recorded));
}

/** `run.json`. */
export function recordOf(
  state: RunRecord["state"],
  made: Provenance,
  { engine = "auto", merge = "auto", reproduce = defaultCommand, source, startedIn = "." }: Origin,
  despite: readonly string[],
): RunRecord {
  return {
    made,
    merge: made.engine === null ? null : mergeLimit(merge, chooseEngine(engineNameOf(engine)).gpu),
    state,
    continuedDespite: despite,
    startedIn: resolve(startedIn),
    reproduce,
    source: source === undefined ? null : { ...source, changes: { ...source.changes } },
  };
}
