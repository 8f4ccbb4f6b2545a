/** Run folders in tests: made apart from each other, compared byte by byte. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** A folder that is gone when the test has ended. */
export function temporaryFolder(t: Pick<TestContext, "after">): string {
  const folder = mkdtempSync(join(tmpdir(), "flame-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

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
  const [found, wanted] = [contentsOf(actual, files), contentsOf(expected, files)];
  for (const name of files) {
    if (found[name] === wanted[name]) continue;
    const [ours, theirs] = [found[name]!.split("\n"), wanted[name]!.split("\n")];
    const line = ours.findIndex((text, at) => text !== theirs[at]);
    assert.fail(`${what}: ${name} line ${line + 1} is\n  ${ours[line]}\nexpected\n  ${theirs[line]}`);
  }
}
