/** Run folders in tests: made apart from each other, compared byte by byte. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

/** The files that must be the same for identical runs. */
export const sameFiles = ["scenario.json", "events.jsonl", "metrics.jsonl", "participations.jsonl", "result.json"];

export const contentsOf = (folder: string, files: readonly string[] = sameFiles): Record<string, string> =>
  Object.fromEntries(files.map((name) => [name, readFileSync(join(folder, name), "utf8")]));

/** Ends a run after this many events, as Ctrl-C at that moment would. */
export function interruptAfter(events: number): AbortSignal {
  let asked = 0;
  return {
    get aborted() {
      return asked++ >= events;
    },
  } as AbortSignal;
}

/** Fails with the first line in which two runs differ. */
export function assertSameRun(actual: string, expected: string, what: string, files = sameFiles): void {
  for (const name of files) {
    const [found, wanted] = [readFileSync(join(actual, name)), readFileSync(join(expected, name))];
    if (found.equals(wanted)) continue;
    // What is no text has no lines either, and then shows where it differs only roughly.
    const [ours, theirs] = [found.toString("latin1").split("\n"), wanted.toString("latin1").split("\n")];
    const line = ours.findIndex((text, at) => text !== theirs[at]);
    assert.fail(`${what}: ${name} line ${line + 1} is\n  ${ours[line]}\nexpected\n  ${theirs[line]}`);
  }
}

/**
 * Fails unless two folders of finished runs hold the same files with the same bytes. Three may differ: `diagnostics.log`
 * measures the machine, `run.json` says how long it took, and what is in `checkpoints/` depends on how fast that was.
 */
export function assertSameFolder(actual: string, expected: string, what: string): void {
  const wanted = filesOf(expected);
  assert.deepEqual(filesOf(actual), wanted, `${what}: the files in the folder`);
  assertSameRun(
    actual,
    expected,
    what,
    wanted.filter((name) => name !== "run.json"),
  );
  assert.deepEqual(recordOf(actual), recordOf(expected), `${what}: run.json`);
  const strangers = readdirSync(join(actual, "checkpoints")).filter((name) => !name.endsWith(".ckpt"));
  assert.deepEqual(strangers, [], `${what}: nothing but checkpoints in their folder`);
}

function recordOf(folder: string): unknown {
  const { seconds: _, ...record } = JSON.parse(readFileSync(join(folder, "run.json"), "utf8"));
  return record;
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((name) => name !== "diagnostics.log" && !name.startsWith("checkpoints"))
    .sort();
}

/** How far a run has come, from what is on disk. */
export function stageOf(folder: string): string {
  if (!existsSync(join(folder, "scenario.json"))) return "before there was a run";
  if (existsSync(join(folder, "result.json"))) return "while results were written";
  const metrics = join(folder, "metrics.jsonl");
  const rows = existsSync(metrics) ? readFileSync(metrics, "utf8").split("\n").length - 1 : 0;
  if (rows > 0) return `after round ${rows - 1}`;
  return "before the first row of metrics";
}

/** Files that were being written: they have their temporary names. */
export const halfWritten = (folder: string): string[] =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".tmp"))
    : [];
