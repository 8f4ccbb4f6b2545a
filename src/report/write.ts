import { writeAtomically } from "../base/disk.ts";

/**
 * Writes a file whole and returns its path: whoever is killed meanwhile leaves none, or the one that was there.
 *
 * @throws MachineError when the folder cannot be written: full disk, no permission, gone
 */
export function writeFile(path: string, text: string): string {
  writeAtomically(path, text);
  return path;
}
