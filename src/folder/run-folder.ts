/**
 * The folder a run leaves behind. Everything in it but `diagnostics.log` follows from scenario and seed alone.
 *
 *   scenario.json    resolved and re-runnable          adapter/              the final adapter, as PEFT reads it
 *   metrics.jsonl    one row a round                   checkpoints/          state, newest last
 *   events.jsonl     the trace                         report.html           for people
 *   timeline.json    for Perfetto                      run.json              state: running, finished, …
 *   result.json      digests and expectations          diagnostics.log       wall-clock things
 *   participations.jsonl  one row for each client's part in a round
 */

import { closeSync, existsSync, lstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";
import { makeFolder, onDisk, writeAtomically } from "../base/disk.ts";
import { InputError, invariant, ScenarioError } from "../base/errors.ts";
import { parseAs } from "../base/json.ts";

export interface RunFolder {
  readonly path: string;
  readonly scenario: string;
  readonly metrics: string;
  readonly events: string;
  readonly participations: string;
  readonly timeline: string;
  readonly checkpoints: string;
  readonly adapter: string;
  readonly report: string;
  readonly diagnostics: string;
  /** How the run stands: see {@link RunRecord}. */
  readonly record: string;
  /** What it found: see {@link ResultRecord}. */
  readonly result: string;
  readonly lock: string;
}

/** `run.json`. */
export type RunRecord = Readonly<z.output<typeof recordSchema>>;

export const defaultCommand = "npx flame run scenario.json";

const recordSchema = z.object({
  version: z.string(),
  engine: z.string().nullable(),
  /** How many clients shared a call: a number, or as many as fit into so much memory. Null without training. */
  merge: z
    .union([z.strictObject({ clients: z.int().min(1) }), z.strictObject({ bytes: z.int().min(0) })])
    .nullable()
    .default(null),
  state: z.enum(["running", "finished", "interrupted", "failed"]),
  /** Set when the run was continued although program, scenario or engine had changed: what had. */
  continuedDespite: z.array(z.string()),
  /** The command line that runs the scenario again. */
  reproduce: z.string().default(defaultCommand),
  /** The file that the scenario came from, and what the command line changed in it. Null for a scenario.json. */
  source: z
    .object({ file: z.string(), digest: z.string(), changes: z.record(z.string(), z.unknown()) })
    .nullable()
    .default(null),
});

/** `result.json`: the same for any two runs of one scenario and seed. Written last; see `seal.ts`. */
export type ResultRecord = Readonly<z.output<typeof resultSchema>>;

const resultSchema = z.strictObject({
  /** Of the trace. */
  digest: z.string(),
  /** SHA-256 of the final adapter's values; null without training. */
  adapterDigest: z.string().nullable(),
  rounds: z.int().min(0),
  expectations: z.array(z.object({ name: z.string(), held: z.boolean(), detail: z.string() })).readonly(),
  reproduce: z.string(),
  /** SHA-256 of the other files that a finished run leaves, by their path in its folder. */
  files: z.record(z.string(), z.string()),
  /** SHA-256 of this record without its seal, as `JSON.stringify` writes it. */
  seal: z.string(),
});

export function runFolder(path: string): RunFolder {
  const at = (name: string) => join(path, name);
  return {
    path: resolve(path),
    scenario: at("scenario.json"),
    metrics: at("metrics.jsonl"),
    events: at("events.jsonl"),
    participations: at("participations.jsonl"),
    timeline: at("timeline.json"),
    checkpoints: at("checkpoints"),
    adapter: at("adapter"),
    report: at("report.html"),
    diagnostics: at("diagnostics.log"),
    record: at("run.json"),
    result: at("result.json"),
    lock: at("lock"),
  };
}

/** `runs/quickstart-42-20260310T141503`; a number is added when that second already has a run. */
export function defaultFolder(name: string, seed: number, now: Date): string {
  const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  const path = join("runs", `${name}-${seed}-${stamp}`);
  for (let copy = 2, candidate = path; ; copy++) {
    if (!existsSync(candidate)) return candidate;
    candidate = `${path}-${copy}`;
  }
}

/** Makes the folder of a new run. A folder that holds a run already is left alone. */
export function createRunFolder(path: string): RunFolder {
  const folder = runFolder(path);
  // A folder that is not there yet holds no links; whether it can be made is said below.
  if (existsSync(path)) refuseLinks(folder);
  if (existsSync(folder.scenario)) {
    throw new ScenarioError(
      `output folder ${path} already holds a run; resume it with "flame resume ${path}", or choose another with --out`,
    );
  }
  onDisk(`cannot write to output folder ${path}`, () => {
    makeFolder(folder.checkpoints);
    // mkdir succeeds on a folder that exists and is read-only.
    closeSync(openSync(folder.diagnostics, "a"));
  });
  return folder;
}

/** Opens the folder of a run that began earlier. */
export function openRunFolder(path: string): RunFolder {
  const folder = runFolder(path);
  if (!existsSync(folder.scenario)) {
    const hint = existsSync(folder.checkpoints)
      ? `; a run that was ended before it began is begun again with flame run … --out ${path}`
      : "";
    throw new InputError(`${path} is not a run folder: it has no scenario.json${hint}`);
  }
  refuseLinks(folder);
  return folder;
}

/** A folder that came from elsewhere must not make a run write to other places. */
function refuseLinks({ path: _, ...parts }: RunFolder): void {
  for (const path of Object.values(parts)) {
    const found = onDisk(`cannot open ${path}`, () => lstatSync(path, { throwIfNoEntry: false }));
    if (found?.isSymbolicLink()) {
      throw new InputError(`${path} is a link; a run writes only inside its own folder`);
    }
  }
}

export const readRecord = (folder: RunFolder): RunRecord | null => readJson(folder.record, recordSchema);

/** Null for a run that has not come to its end. */
export const readResult = (folder: RunFolder): ResultRecord | null => readJson(folder.result, resultSchema);

function readJson<Value>(path: string, schema: z.ZodType<Value>): Value | null {
  if (!existsSync(path)) return null;
  return parseAs(
    schema,
    onDisk(`cannot read ${path}`, () => readFileSync(path, "utf8")),
    path,
  );
}

export const writeRecord = (folder: RunFolder, record: RunRecord): void =>
  writeAtomically(folder.record, `${JSON.stringify(record, null, 2)}\n`);

/** The files of `folder` with this ending, in ascending order of name. */
export function filesIn(folder: string, ending: string): string[] {
  invariant(ending.startsWith("."), "an ending starts with a dot");
  if (!existsSync(folder)) return [];
  return onDisk(`cannot read ${folder}`, () => readdirSync(folder))
    .filter((name) => name.endsWith(ending))
    .sort();
}
