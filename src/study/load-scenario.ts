/**
 * Finds and loads a scenario: a TypeScript or JavaScript file with a default export, the scenario.json of an earlier
 * run, or the bare name of a scenario that comes with the program.
 *
 * Wherever the file lies, `import … from "flame-sim"` in it means the running program, so that a scenario works from
 * a clone, from a project that depends on flame-sim, and under a global installation. Its relative paths begin in its own
 * folder, those of a run's scenario.json where that run was started; who loads it gets them as they are from where it works.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, extname, join, relative, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { InputError, InvariantError, messageOf, ScenarioError } from "../base/errors.ts";
import { parseJson } from "../base/json.ts";
import { packageRoot } from "../base/places.ts";
import { nearest } from "../base/spelling.ts";
import { largestText, readText } from "../base/text.ts";
import { openRunFolder, readRecord } from "../folder/run-folder.ts";
import type { ScenarioSource } from "../run/provenance.ts";
import type { Reload } from "../run/resume.ts";
import { changesSchema, configure, type ScenarioChanges } from "../scenario/configure.ts";
import { type Scenario, scenarioFromJson } from "../scenario/define.ts";
import { ownCodeDigest } from "../scenario/own-code.ts";
import { rebased } from "../scenario/paths.ts";
import { type PlannedStudy, plannedStudy } from "./matrix/planned.ts";
import { hookImports } from "./scenario-imports.ts";

export interface LoadedScenario {
  /** More than one when the file compares variants: then they have different names. */
  readonly scenarios: readonly Scenario[];
  /** As the user would type it again. */
  readonly path: string;
  /** The file itself; null for a scenario.json, which holds everything. */
  readonly file: string | null;
  /** Where its relative paths belong: its own folder; the working folder for one that comes with the program. */
  readonly home: string;
  /** Null where the file has none. */
  readonly study: PlannedStudy | null;
}

/** @param place where the scenario's relative paths are to begin; the working folder unless given */
export async function loadScenario(name: string, place = process.cwd()): Promise<LoadedScenario> {
  const path = find(name);
  const shown = shortest(path);
  if (extname(path) === ".json") {
    const scenario = scenarioFromJson(parseJson(readText(path, largestText), shown));
    const home = startedIn(dirname(path)) ?? dirname(path);
    return { scenarios: [rebased(scenario, home, place)], path: shown, file: null, home, study: null };
  }
  await prepareImports();
  const module = await moduleOf(path, shown);
  const scenarios: unknown[] = Array.isArray(module.default) ? module.default : [module.default];
  if (scenarios.length === 0 || !scenarios.every(isScenario)) {
    throw new ScenarioError(
      `${shown} has no scenario: expected "export default defineScenario({ … })" or a list of them`,
    );
  }
  const names = new Set(scenarios.map(({ data }) => data.name));
  if (names.size < scenarios.length) throw new ScenarioError(`${shown}: two of its scenarios have the same name`);
  const study = plannedStudy(module.study, shown);
  const home = path.startsWith(join(packageRoot(), "scenarios", sep)) ? process.cwd() : dirname(path);
  return {
    scenarios: scenarios.map((own) => rebased(own, dirname(path), place)),
    path: shown,
    file: path,
    home,
    study,
  };
}

/** Where a run was started, should the folder be one and its place still be there. */
function startedIn(folder: string): string | undefined {
  if (!["run.json", "scenario.json"].every((name) => existsSync(join(folder, name)))) return undefined;
  const place = readRecord(openRunFolder(folder))?.startedIn;
  return place !== undefined && existsSync(place) ? place : process.cwd();
}

/** What a run writes down of where its scenario came from. */
export const sourceOf = (file: string | null, changes: ScenarioChanges): ScenarioSource | null =>
  file === null ? null : { file, digest: ownCodeDigest(file), changes: { ...changes } };

/** Loads the scenario of a run again from the file it came from. It runs that file: `consent.ts` stands before it. */
export const reload: Reload = async ({ folder, source, name }) => {
  const { file } = source;
  const changes = changesSchema.safeParse(source.changes);
  if (!changes.success) throw new InputError(`run.json: source.changes: ${z.prettifyError(changes.error)}`);
  const { scenarios } = await loadScenario(file, startedIn(folder.path));
  const configured = scenarios.map((scenario) => configure(scenario, changes.data));
  const scenario = configured.find(({ data }) => data.name === name);
  if (scenario === undefined) throw new InputError(`${file} has no scenario ${JSON.stringify(name)} any more`);
  return { scenario, source: { ...source, digest: ownCodeDigest(file) } };
};

/** What goes wrong while a scenario's file is read is its author's to mend. */
async function moduleOf(path: string, shown: string): Promise<{ default?: unknown; study?: unknown }> {
  try {
    return (await import(pathToFileURL(path).href)) as { default?: unknown; study?: unknown };
  } catch (cause) {
    if ([ScenarioError, InputError, InvariantError].some((kind) => cause instanceof kind)) throw cause;
    throw new ScenarioError(`${shown} cannot be loaded\n  ${flawOf(cause)}`, { cause });
  }
}

/** One line: the first place that the compiler complains of, or the message and where it was thrown. */
function flawOf(cause: unknown): string {
  const [first = "", ...rest] = messageOf(cause).split("\n");
  const compiled = rest.find((line) => / ERROR: /.test(line));
  if (compiled !== undefined) return compiled.replace(" ERROR:", "");
  const [, where] =
    /(?:file:\/\/)?(\/\S+\.[cm]?[jt]s:\d+(?::\d+)?)/.exec(cause instanceof Error ? (cause.stack ?? "") : "") ?? [];
  return `${first}${where === undefined || where.includes("/node_modules/") ? "" : `, at ${where}`}`;
}

function find(name: string): string {
  const own = resolve(name);
  const isFolder = existsSync(own) && statSync(own).isDirectory();
  if (existsSync(own) && !isFolder) return own;
  if (isFolder && existsSync(join(own, "scenario.json"))) return join(own, "scenario.json");
  const packaged = join(packageRoot(), "scenarios");
  const shipped = scenarioFiles(packaged).find((file) => withoutEnding(file) === withoutEnding(name));
  if (shipped !== undefined) return join(packaged, shipped);
  const names = scenarioFiles(packaged).map(withoutEnding);
  const near = nearest(name, names);
  const here = isFolder ? codeIn(own) : [];
  const what = isFolder
    ? `${name} is a folder without a run${here.length === 0 ? "" : `; of its files, name one of ${here.join(", ")}`}`
    : `there is no scenario ${name}${near === undefined ? "" : `; did you mean ${near}?`}`;
  throw new ScenarioError(`${what}\n  expected a .ts, .js or .json file, or one of ${names.join(", ")}`);
}

/** The scenarios that come with the program, as paths in their folder. */
export function scenarioFiles(folder: string): string[] {
  const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return ["", ...folders.map(({ name }) => name)]
    .flatMap((within) => codeIn(join(folder, within)).map((name) => join(within, name)))
    .sort();
}

const codeIn = (folder: string): string[] =>
  readdirSync(folder).filter((name) => /\.[cm]?[jt]s$/.test(name) && !name.endsWith(".d.ts"));

/** `paper/clients`, of `scenarios/paper/clients.ts`. */
export const withoutEnding = (file: string): string =>
  file.replaceAll("\\", "/").replace(/^scenarios\/|\.[cm]?[jt]s$/g, "");

/** Relative when that is inside the working folder. */
function shortest(path: string): string {
  const near = relative(process.cwd(), path);
  return near === "" || near.startsWith("..") ? path : near;
}

let prepared = false;

async function prepareImports(): Promise<void> {
  if (prepared) return;
  prepared = true;
  const tsx = await import("tsx/esm/api");
  tsx.register();
  hookImports(import.meta.url);
}

const isScenario = (value: unknown): value is Scenario =>
  typeof value === "object" && value !== null && (value as { kind?: unknown }).kind === "scenario";
