/** Where two runs part: the first event, the first row of metrics, and what else is not the same. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import * as z from "zod";
import { type FieldDifference, fieldDifferences, isObject } from "../base/field-differences.ts";
import { digestOfFile } from "../base/open.ts";
import { linesOf, readText } from "../base/text.ts";
import {
  filesIn,
  largestRecord,
  largestScenario,
  memberFolders,
  openRunFolder,
  type ResultRecord,
  type RunFolder,
} from "../folder/run-folder.ts";
import { SafetensorsFile } from "../model/formats/safetensors.ts";

/** The first line in which two files differ. */
export interface Parting {
  /** From 1. */
  readonly line: number;
  /** Up to three lines before it, which are the same in both. */
  readonly before: readonly string[];
  /** Null where the file has ended. */
  readonly a: string | null;
  readonly b: string | null;
}

/** The stream of a purpose, and what was drawn from it when a round closed: words, and the sum of their blocks. */
interface DrawParting {
  readonly round: number;
  readonly purpose: string;
  /** Null where nothing was drawn since the round before. */
  readonly a: string | null;
  readonly b: string | null;
}

export interface RunDifference {
  /** Fields of scenario.json. */
  readonly scenario: readonly FieldDifference[];
  readonly events: Parting | null;
  readonly metrics: Parting | null;
  /** What differs within that row of metrics. */
  readonly metricsFields: readonly FieldDifference[];
  readonly participations: Parting | null;
  /** Where they first drew differently, in rounds before they were interrupted. Draws of workers are not among these. */
  readonly draws: DrawParting | null;
  /** Other files that are not the same, or of only one of the runs: of the adapter, and what was found. */
  readonly files: readonly string[];
}

export const isSame = ({ scenario, events, metrics, participations, files }: RunDifference): boolean =>
  scenario.length + files.length === 0 && events === null && metrics === null && participations === null;

/**
 * @param tolerance largest relative difference of two trained numbers that counts as none, for runs of unlike machines: of
 *   one that is no whole number to the larger of both, of a tensor's to its largest. 0: the bytes are compared
 * @throws InputError when one of the folders holds no run
 */
export function compareRuns(a: string, b: string, tolerance = 0): RunDifference {
  const [first, second] = [openRunFolder(a), openRunFolder(b)];
  const isNear = (x: unknown, y: unknown) => Object.is(x, y) || (tolerance > 0 && areNear(x, y, tolerance));
  const isSameRow = (x: string, y: string) =>
    x === y || (tolerance > 0 && fieldDifferences(parsed(x), parsed(y), isNear).length === 0);
  const metrics = partingOf(first.metrics, second.metrics, isSameRow);
  const files = [...new Set([...learnedIn(first), ...learnedIn(second)])].filter(
    (name) => !isSameFile(join(first.path, name), join(second.path, name), tolerance, isSameRow),
  );
  const found = [first, second].map((folder) => foundBy(folder, tolerance > 0));
  if (fieldDifferences(found[0], found[1]).length > 0) files.push("result.json");
  return {
    scenario: fieldDifferences(jsonOf(first), jsonOf(second)),
    events: partingOf(first.events, second.events),
    metrics,
    metricsFields:
      metrics === null || metrics.a === null || metrics.b === null
        ? []
        : fieldDifferences(parsed(metrics.a), parsed(metrics.b), isNear),
    participations: partingOf(first.participations, second.participations, isSameRow),
    draws: drawPartingOf(first.diagnostics, second.diagnostics),
    files,
  };
}

/** @internal Null when the files are the same, or neither is there. */
export function partingOf(a: string, b: string, isSame = (x: string, y: string): boolean => x === y): Parting | null {
  const [ours, theirs] = [a, b].map((path) => (existsSync(path) ? linesOf(path, "refused") : [][Symbol.iterator]()));
  const before: string[] = [];
  for (let line = 1; ; line++) {
    const [x, y] = [ours!.next(), theirs!.next()];
    if (x.done === true && y.done === true) return null;
    const [left, right] = [x.done === true ? null : x.value, y.done === true ? null : y.value];
    if (left === null || right === null || !isSame(left, right)) return { line, before, a: left, b: right };
    before.push(left);
    if (before.length > 3) before.shift();
  }
}

function drawPartingOf(a: string, b: string): DrawParting | null {
  const theirs = drawsIn(b);
  for (const [at, { round, draws }] of drawsIn(a).entries()) {
    const other = theirs[at];
    if (other?.round !== round) return null;
    const purpose = Object.keys({ ...draws, ...other.draws }).find((name) => draws[name] !== other.draws[name]);
    if (purpose !== undefined) return { round, purpose, a: draws[purpose] ?? null, b: other.draws[purpose] ?? null };
  }
  return null;
}

/** A row for each round, of the process that began the run: one that resumes it draws some numbers again and tells none. */
function drawsIn(diagnostics: string): DrawsRow[] {
  const rows: DrawsRow[] = [];
  if (!existsSync(diagnostics)) return rows;
  for (const line of linesOf(diagnostics, "refused")) {
    const [, text] = /^ *[\d.]+ {2}draws +(\{.*\})$/.exec(line) ?? [];
    const { success, data } = drawsSchema.safeParse(text === undefined ? null : parsed(text));
    if (success) rows.push(data);
  }
  return rows;
}

const drawsSchema = z.strictObject({ round: z.int(), draws: z.record(z.string(), z.string()) });
type DrawsRow = z.output<typeof drawsSchema>;

/** Names of files, from the run's folder on. */
const learnedIn = ({ adapter, best }: RunFolder): string[] =>
  [adapter, best].flatMap((place) =>
    ["", ...memberFolders(place)].flatMap((member) =>
      [".json", ".safetensors"].flatMap((ending) =>
        filesIn(join(place, member), ending).map((name) => join(basename(place), member, name)),
      ),
    ),
  );

function isSameFile(a: string, b: string, tolerance: number, isSameText: (x: string, y: string) => boolean): boolean {
  if (!existsSync(a) || !existsSync(b)) return false;
  if (digestOfFile(a, "refused") === digestOfFile(b, "refused")) return true;
  if (tolerance === 0) return false;
  if (a.endsWith(".safetensors")) return areNearTensors(a, b, tolerance);
  return isSameText(readText(a, largestRecord, "refused"), readText(b, largestRecord, "refused"));
}

function areNearTensors(a: string, b: string, tolerance: number): boolean {
  const [first, second] = [SafetensorsFile.open(a), SafetensorsFile.open(b)];
  try {
    const names = [...first.tensors.keys()];
    if (fieldDifferences(names, [...second.tensors.keys()]).length > 0) return false;
    return names.every((name) => {
      if (first.entry(name).size !== second.entry(name).size) return false;
      const [ours, theirs] = [first.floats(name), second.floats(name)];
      const largest = ours.reduce((most, value, at) => Math.max(most, Math.abs(value), Math.abs(theirs[at]!)), 0);
      return ours.every((value, at) => Math.abs(value - theirs[at]!) <= tolerance * largest);
    });
  } finally {
    first.close();
    second.close();
  }
}

/** Counts, bytes and times are the same on every machine. */
function areNear(x: unknown, y: unknown, tolerance: number): boolean {
  if (typeof x !== "number" || typeof y !== "number" || (Number.isInteger(x) && Number.isInteger(y))) return false;
  return Math.abs(x - y) <= tolerance * Math.max(Math.abs(x), Math.abs(y));
}

/** What the run came to, without the command that began it and, roughly, without digits; nothing while it has not finished. */
function foundBy({ result }: RunFolder, roughly: boolean): unknown {
  if (!existsSync(result)) return null;
  const found = parsed(readText(result, largestRecord, "refused"));
  if (!isObject(found)) return found;
  const { digest, adapterDigest, rounds, expectations } = found as unknown as ResultRecord;
  if (roughly) return { digest, rounds, expectations: expectations.map(({ name, held }) => ({ name, held })) };
  return { digest, adapterDigest, rounds, expectations };
}

const jsonOf = ({ scenario }: RunFolder): unknown => parsed(readText(scenario, largestScenario, "refused"));

/** Text that is not JSON is compared as it stands. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
