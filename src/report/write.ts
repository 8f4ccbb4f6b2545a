import { renameSync, rmSync, writeFileSync } from "node:fs";
import { MachineError, messageOf } from "../base/errors.ts";

/**
 * Writes a file whole and returns its path: whoever is killed meanwhile leaves none, or the one that was there.
 *
 * @throws MachineError when the folder cannot be written: full disk, no permission, gone
 */
export function writeFile(path: string, text: string): string {
  const temporary = `${path}.tmp`;
  try {
    // A link in its place is not written through.
    rmSync(temporary, { force: true });
    writeFileSync(temporary, text, { flag: "wx" });
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw new MachineError(`cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
  return path;
}
