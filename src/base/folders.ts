/** Folders on the machine's disk. */
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes a folder and those above it that are missing; one that is there is left as it is. Node's own way with
 * `recursive` never returns where a system says of every new folder that it does not exist, as Linux does in /proc, and
 * says so itself of folders on a read-only file system.
 *
 * @throws what the system says of the first folder that cannot be made
 */
export function makeFolder(path: string): void {
  if (isFolder(path)) return;
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process may have made it.
    if (isFolder(path)) return;
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || dirname(path) === path || isFolder(dirname(path))) {
      throw error;
    }
    makeFolder(dirname(path));
    if (!isFolder(path)) mkdirSync(path);
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // What cannot even be looked at cannot be made either, and then says why.
    return false;
  }
}
