/** `flame list`: the runs of a folder, newest first, and the scenarios that come with the program. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { onDisk } from "../../base/disk.ts";
import { InputError } from "../../base/errors.ts";
import { packageRoot } from "../../base/places.ts";
import { largestText, readText } from "../../base/text.ts";
import { isHeld } from "../../folder/lock.ts";
import { openRunFolder, type ResultRecord, readRecord, readResult } from "../../folder/run-folder.ts";
import { formatTable } from "../../report/table.ts";
import { scenarioFiles, withoutEnding } from "../../study/load-scenario.ts";
import { colors } from "../screen/colors.ts";
import { duration } from "../screen/table.ts";
import { terminal, wrapped } from "../screen/terminal.ts";

interface ListedRun {
  readonly run: string;
  /** That of `run.json`; `cut off` where nobody works at a run any more, `unreadable` where its files are none. */
  readonly state: string;
  readonly rounds: number | null;
  /** The last held-out results, largest budget first. */
  readonly evaluations: NonNullable<ResultRecord["evaluations"]>;
  readonly claims: { readonly held: number; readonly of: number } | null;
  /** Seconds since its state changed. */
  readonly age: number;
}

export function list(folder: string, { json }: { readonly json?: boolean }): void {
  const runs = runsIn(folder);
  const home = join(packageRoot(), "scenarios");
  const scenarios = scenarioFiles(home).map((file) => ({
    scenario: withoutEnding(file),
    about: aboutOf(join(home, file)),
  }));
  if (json === true) {
    terminal.out.write(`${JSON.stringify({ runs, scenarios })}\n`);
    return;
  }
  if (runs.length === 0) terminal.out.write(`no runs in ${folder}\n`);
  else terminal.out.write(`${tableOf(runs)}\n`);
  const width = Math.max(...scenarios.map(({ scenario }) => scenario.length)) + 2;
  for (const { scenario, about } of scenarios) {
    terminal.out.write(`${wrapped(`\n${colors.bold(scenario.padEnd(width))}${about}`.trimStart(), width)}\n`);
  }
}

function runsIn(folder: string): ListedRun[] {
  if (!existsSync(folder)) return [];
  return onDisk(`cannot read ${folder}`, () => readdirSync(folder))
    .map((name) => join(folder, name))
    .filter((path) => existsSync(join(path, "run.json")))
    .map(runAt)
    .sort((a, b) => a.age - b.age);
}

function runAt(path: string): ListedRun {
  const age = Math.round((Date.now() - statSync(join(path, "run.json")).mtimeMs) / 1_000);
  try {
    const folder = openRunFolder(path);
    const written = readRecord(folder)?.state ?? "unreadable";
    const state = written === "running" && !isHeld(folder.lock) ? "cut off" : written;
    const result = state === "finished" ? readResult(folder) : null;
    const { rounds = null, evaluations = [], expectations = [] } = result ?? {};
    const held = expectations.filter((claim) => claim.held).length;
    return { run: path, state, rounds, evaluations, claims: result && { held, of: expectations.length }, age };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { run: path, state: "unreadable", rounds: null, evaluations: [], claims: null, age };
  }
}

function tableOf(runs: readonly ListedRun[]): string {
  const rows = runs.map(({ run, state, rounds, evaluations, claims, age }) => {
    const [best] = evaluations;
    return [
      run,
      state,
      rounds ?? "·",
      best === undefined ? "·" : best.loss.toFixed(3),
      best === undefined ? "·" : `${(100 * best.exactMatch).toFixed(0)} %`,
      claims === null ? "·" : `${claims.held}/${claims.of}`,
      duration(age),
    ];
  });
  return formatTable(["run", "state", "rounds", "loss", "exact", "claims", "age"], rows, 2);
}

/** The first paragraph of the comment that a scenario opens with: its question. */
function aboutOf(file: string): string {
  const [, comment = ""] = /^\/\*\*([\s\S]*?)\*\//.exec(readText(file, largestText)) ?? [];
  const lines = comment.split("\n").map((line) => line.replace(/^\s*\*? ?/, "").trim());
  const text = lines.slice(lines.findIndex((line) => line !== ""));
  const end = text.indexOf("");
  return text.slice(0, end < 0 ? undefined : end).join(" ");
}
