/** Folders in which tests write, gone when they have ended. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

/** A folder for one test. */
export function temporaryFolder(t: { after(then: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), "flame-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder for all tests of a file, and in it what the program would keep for the user. */
export function folderOfFile(): string {
  const folder = temporaryFolder({ after });
  process.env.XDG_CACHE_HOME = join(folder, "cache");
  return folder;
}
