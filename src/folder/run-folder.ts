/**
 * The folder a run leaves behind. Everything in it but `diagnostics.log` follows from scenario and seed alone.
 *
 *   scenario.json    resolved and re-runnable          adapter/              the final adapter, as PEFT reads it
 *   metrics.jsonl    one row a round                   checkpoints/          state, newest last
 *   events.jsonl     the trace                         report.html           for people
 *   timeline.json    for Perfetto                      run.json              state: running, finished, …
 *   result.json      digests and expectations          diagnostics.log       wall-clock things
 *   pictures.json    of tasks that have some
 *   participations.jsonl  one row for each client's part in a round
 */
import { closeSync, existsSync, lstatSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod";
import { makeFolder, onDisk, syncFolder, writeAtomically } from "../base/disk.ts";
import { InputError, invariant, ScenarioError } from "../base/errors.ts";
import { readJsonAs } from "../base/json.ts";
import { openToAppend, refuseOddity } from "../base/open.ts";
import { budgetMetricsSchema } from "../records/metrics.ts";
import { totalsSchema } from "../records/totals.ts";
import { provenanceSchema } from "./provenance.ts";

export interface RunFolder {
  readonly path: string;
  readonly scenario: string;
  readonly metrics: string;
  readonly events: string;
  readonly participations: string;
  readonly pictures: string;
  readonly timeline: string;
  readonly checkpoints: string;
  readonly adapter: string;
  /** The best adapter of a run that might have ended early. */
  readonly best: string;
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

/** Recorded traces of a large fleet may be in a scenario.json. */
export const largestScenario = 2 ** 29;
/** Of run.json and result.json, which hold a few lines for each claim and each change from the command line. */
export const largestRecord = 2 ** 24;

export const defaultCommand = "npx flame run scenario.json";

/** Set when the run was continued although what it is made of had changed: what had. */
const despiteSchema = z.array(z.string()).readonly();

/** @internal */
export const recordSchema = z.object({
  made: provenanceSchema,
  /** How many clients shared a call: a number, or as many as fit into so much memory. Null without training. */
  merge: z
    .union([z.strictObject({ clients: z.int().min(1) }), z.strictObject({ bytes: z.int().min(0) })])
    .nullable()
    .default(null),
  state: z.enum(["running", "finished", "interrupted", "failed"]),
  continuedDespite: despiteSchema,
  /** Real seconds of the process that ended it; absent while it runs. */
  seconds: z.number().min(0).exactOptional(),
  /** The working folder of the command that began the run: where the scenario's relative paths begin. */
  startedIn: z.string(),
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

export const resultSchema = z.strictObject({
  made: provenanceSchema,
  continuedDespite: despiteSchema,
  /** Of the trace. */
  digest: z.string(),
  /** SHA-256 of the final adapter's values; null without training. */
  adapterDigest: z.string().nullable(),
  rounds: z.int().min(0),
  /** The first round after which a held-out loss was no finite number; null if there was none. */
  divergedIn: z.int().min(0).nullable(),
  /** Sums over the run: counts of invitations, bytes, milliseconds of virtual time. */
  totals: totalsSchema.exactOptional(),
  /** The last held-out results, largest budget first; empty without training. */
  evaluations: z.array(budgetMetricsSchema).readonly().exactOptional(),
  /** Held-out examples that those rest on; null without training. */
  heldOut: z.int().min(1).nullable().exactOptional(),
  /** Where a rule might have ended the run early: whether it did, and the best evaluation, whose adapter is in `best/`. */
  stop: z
    .object({
      because: z.enum(["target", "patience"]).nullable(),
      best: z.object({ round: z.int().min(0), value: z.number() }).nullable(),
    })
    .exactOptional(),
  expectations: z
    .array(
      z.object({
        name: z.string(),
        held: z.boolean(),
        detail: z.string(),
        /** Whether the claim threw, so that nobody knows whether it holds. */
        threw: z.literal(true).exactOptional(),
      }),
    )
    .readonly(),
  /** SHA-256 of the other files that a finished run leaves, by their path in its folder. */
  files: z.record(z.string(), z.string()),
  /** SHA-256 of this record without its seal, as `JSON.stringify` writes it. */
  seal: z.string(),
});

function runFolder(path: string): RunFolder {
  const at = (name: string) => join(path, name);
  return {
    path: resolve(path),
    scenario: at("scenario.json"),
    metrics: at("metrics.jsonl"),
    events: at("events.jsonl"),
    participations: at("participations.jsonl"),
    pictures: at("pictures.json"),
    timeline: at("timeline.json"),
    checkpoints: at("checkpoints"),
    adapter: at("adapter"),
    best: at("best"),
    report: at("report.html"),
    diagnostics: at("diagnostics.log"),
    record: at("run.json"),
    result: at("result.json"),
    lock: at("lock"),
  };
}

/** `runs/quickstart-42-20260310T141503`; a number is added when that second already has a run. */
export const defaultFolder = (name: string, seed: number, now: Date): string => stampedFolder(`${name}-${seed}`, now);

/** `runs/compare-quickstart-20260310T141503`: as for a run. */
export function stampedFolder(name: string, now: Date): string {
  const stamp = now.toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  const path = join("runs", `${name}-${stamp}`);
  for (let copy = 2, candidate = path; ; copy++) {
    if (!existsSync(candidate)) return candidate;
    candidate = `${path}-${copy}`;
  }
}

/** Makes the folder of a new run. A folder that holds a run already is left alone. */
export function createRunFolder(path: string): RunFolder {
  const folder = runFolder(path);
  // A folder that is not there yet holds nothing; whether it can be made is said below.
  if (existsSync(path)) refuseOddities(folder);
  if (existsSync(folder.scenario)) {
    throw new ScenarioError(
      `output folder ${path} already holds a run; resume it with "flame resume ${path}", or choose another with --out`,
    );
  }
  onDisk(`cannot write to output folder ${path}`, () => {
    makeFolder(folder.checkpoints);
    // mkdir succeeds on a folder that exists and is read-only.
    closeSync(openToAppend(folder.diagnostics));
  });
  return folder;
}

/** Opens the folder of a run that began earlier. */
export function openRunFolder(path: string): RunFolder {
  const folder = runFolder(path);
  if (existsSync(path)) refuseOddities(folder);
  if (!existsSync(folder.scenario)) {
    const hint = existsSync(folder.checkpoints)
      ? `; a run that was ended before it began is begun again with flame run … --out ${path}`
      : "";
    throw new InputError(`${path} is not a run folder: it has no scenario.json${hint}`);
  }
  return folder;
}

/**
 * A folder that came from elsewhere must not make a run read or write in other places, or wait for ever: it holds files and
 * folders, down to every checkpoint, and is one itself.
 */
function refuseOddities({ path, checkpoints, adapter, best }: RunFolder): void {
  onDisk(`cannot open ${path}`, () => {
    if (lstatSync(path).isSymbolicLink())
      throw new InputError(`${path} is a link; expected the run folder it leads to`);
    const learned = [adapter, best].flatMap((place) => [
      place,
      ...memberFolders(place).map((name) => join(place, name)),
    ]);
    for (const folder of [path, checkpoints, ...learned]) {
      if (!existsSync(folder)) continue;
      for (const entry of readdirSync(folder, { withFileTypes: true })) refuseOddity(join(folder, entry.name), entry);
    }
  });
}

/** Names of an ensemble's folders within that of its adapter, in the order of its members. */
export function memberFolders(adapter: string): string[] {
  const names: string[] = [];
  while (existsSync(join(adapter, `member-${names.length}`))) names.push(`member-${names.length}`);
  return names;
}

export const readRecord = (folder: RunFolder): RunRecord | null => readJson(folder.record, recordSchema);

/** Null for a run that has not come to its end. */
export const readResult = (folder: RunFolder): ResultRecord | null => readJson(folder.result, resultSchema);

function readJson<Value>(path: string, schema: z.ZodType<Value>): Value | null {
  if (!existsSync(path)) return null;
  return readJsonAs(schema, path, largestRecord, "refused");
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

/** Removes what a process that was killed here has left half-written, maybe one of another machine. */
export function removeHalfWritten(folder: string): void {
  const left = filesIn(folder, ".tmp");
  for (const name of left) {
    onDisk(`cannot remove ${join(folder, name)}`, () => rmSync(join(folder, name), { recursive: true }));
  }
  // Or a power cut brings them back.
  if (left.length > 0) syncFolder(folder);
}
