/** Reading and writing whole stretches of files, and files that appear whole or not at all. */
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { InputError, InvariantError, MachineError, messageOf } from "../base/errors.ts";

/**
 * Writes a file beside its destination, and gives it its name when it is complete and on disk. The folder is made if
 * it is missing.
 *
 * @throws MachineError if the disk refuses; what was at `path` before is still there then
 */
export function writeAtomically(path: string, write: (descriptor: number) => void): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    makeFolder(dirname(path));
  } catch (error) {
    throw asMachineError(error, path);
  }
  try {
    const descriptor = openSync(temporary, "w");
    try {
      write(descriptor);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw asMachineError(error, path);
  }
}

/**
 * Makes a folder and those it lies in, unless they are there. Node's own `recursive` never comes back where the system
 * knows no new folders and says that something is missing, as in /proc.
 *
 * @throws what the system says when it refuses
 */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (isFolder(path)) return;
    const parent = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || parent === path || isFolder(parent)) throw error;
    makeFolder(parent);
    makeFolder(path);
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Writes all bytes at `position`, however many calls the system needs. */
export function writeFully(descriptor: number, bytes: Uint8Array, position: number): void {
  const largest = 1 << 30;
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(descriptor, bytes, done, Math.min(largest, bytes.length - done), position + done);
  }
}

/** Fills `target` from `position` on; the system may hand a large read over in parts. */
export function readFully(descriptor: number, target: Uint8Array, position: number, path: string): void {
  // One call reads less than 2 GiB.
  const largest = 1 << 30;
  for (let done = 0; done < target.length; ) {
    let count: number;
    try {
      count = readSync(descriptor, target, done, Math.min(largest, target.length - done), position + done);
    } catch (error) {
      throw new InputError(`${path}: cannot be read: ${messageOf(error)}`, { cause: error });
    }
    if (count === 0) {
      throw new InputError(`${path}: ends at byte ${position + done}, expected ${position + target.length}; changed?`);
    }
    done += count;
  }
}

/** Makes a rename durable. Windows cannot open a folder, and does not need to. */
export function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** What the system says when it cannot write becomes a sentence with the path; our own errors pass. */
export function asMachineError(error: unknown, path: string): Error {
  if (error instanceof InputError || error instanceof InvariantError || error instanceof MachineError) return error;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === undefined) return error as Error;
  return new MachineError(`${path} cannot be written: ${messageOf(error)}`, { cause: error });
}
