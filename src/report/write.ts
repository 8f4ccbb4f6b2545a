import { writeFileSync } from "node:fs";
import { MachineError, messageOf } from "../base/errors.ts";

/**
 * Writes a file whole and returns its path.
 *
 * @throws MachineError when the folder cannot be written: full disk, no permission, gone
 */
export function writeFile(path: string, text: string): string {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    throw new MachineError(`cannot write ${path}: ${messageOf(cause)}`, { cause });
  }
  return path;
}
