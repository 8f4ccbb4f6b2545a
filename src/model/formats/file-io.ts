/** Reading and writing whole stretches of files, and files that appear whole or not at all. */
import { closeSync, fsyncSync, openSync, readdirSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { makeFolder } from "../../base/disk.ts";
import { InputError, InvariantError, MachineError, messageOf } from "../../base/errors.ts";
import { isRunning } from "../../base/processes.ts";

/**
 * Writes a file beside its destination, and gives it its name when it is complete and on disk. The folder is made if
 * it is missing. Several processes may write the same file, on several machines; the last one wins.
 *
 * @throws MachineError if the disk refuses; what was at `path` before is still there then
 */
export function writeAtomically(path: string, write: (descriptor: number) => void): void {
  // In containers that share a folder everyone may have the same process number.
  const temporary = `${path}.${hostname()}-${process.pid}.tmp`;
  try {
    makeFolder(dirname(path));
  } catch (error) {
    throw asMachineError(error, path);
  }
  try {
    sweep(path);
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

/** Removes what processes of this machine have left that were killed while they wrote this file: it may be gigabytes. */
function sweep(path: string): void {
  const [folder, start] = [dirname(path), `${basename(path)}.${hostname()}-`];
  for (const name of readdirSync(folder)) {
    const [, owner] = (name.startsWith(start) && /^(\d+)\.tmp$/.exec(name.slice(start.length))) || [];
    if (owner !== undefined && !isRunning(Number(owner))) rmSync(join(folder, name), { force: true });
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
