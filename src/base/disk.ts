/** The machine's disk: folders, files that appear whole or not at all, and what to say when it refuses. */

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { buggify } from "./buggify.ts";
import { InputError, MachineError, messageOf } from "./errors.ts";
import { unguessable } from "./open.ts";
import { isRunning } from "./processes.ts";
import { formatBytes } from "./units.ts";

/**
 * Makes a folder and those above it that are missing, durably; one that is there is left as it is. Node's own way with
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
  syncFolder(dirname(path));
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // What cannot even be looked at cannot be made either, and then says why.
    return false;
  }
}

/** @throws MachineError that says what was being done and what to do about it, where the system refuses */
export function onDisk<Result>(doing: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    throw diskError(doing, cause);
  }
}

/** @throws MachineError where the disk of a folder is known to have no room for so many bytes more */
export function requireSpace(folder: string, bytes: number, what: string): void {
  const { bavail, bsize, blocks } = onDisk(`cannot write to ${folder}`, () => statfsSync(folder));
  // Some network drives do not say.
  if (blocks === 0 || bavail * bsize >= bytes) return;
  const [needed, found] = [bytes, bavail * bsize].map(formatBytes);
  throw new MachineError(`${what} takes ${needed}, but the disk of ${folder} has ${found} left; choose another folder`);
}

/** An empty folder, for the caller to remove. @throws MachineError that says who names the place */
export function scratchFolder(prefix: string): string {
  const place = tmpdir();
  return onDisk(`cannot make a folder in ${place}, which TMPDIR names`, () => mkdtempSync(join(place, prefix)));
}

/** What the system says as a {@link MachineError}; any other error is left as it is. */
export function diskError(doing: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException | null)?.code;
  if (typeof code !== "string") return cause;
  return new MachineError(`${doing}: ${diskTroubles[code] ?? messageOf(cause)}`, { cause });
}

const diskTroubles: Readonly<Record<string, string>> = {
  EACCES: "permission denied; choose another folder",
  EPERM: "operation not permitted; choose another folder",
  EROFS: "the file system is read-only; choose another folder",
  ENOTDIR: "a part of the path is a file, not a folder",
  EEXIST: "a file of that name is in the way",
  EISDIR: "a folder of that name is in the way",
  ENOSPC: "the disk is full; free some space, then continue a run with flame resume",
  EDQUOT: "the disk quota is used up; free some space, then continue a run with flame resume",
  EFBIG: "the file would grow over the size limit",
};

/**
 * Replaces a file in one step: after a crash it holds either the old bytes or the new ones. Several processes may write
 * the same file, on several machines; the last one wins.
 *
 * @param contents the bytes, or what writes them into the open file
 * @throws MachineError if the disk refuses; what was at `path` before is still there then
 */
export function writeAtomically(path: string, contents: Uint8Array | string | ((file: number) => void)): void {
  // In containers that share a folder everyone may have the same process number; nobody can have put anything there.
  const temporary = `${path}.${hostname()}-${process.pid}-${unguessable()}.tmp`;
  onDisk(`cannot write ${path}`, () => {
    sweep(path);
    try {
      const file = openSync(temporary, "wx");
      try {
        if (typeof contents === "function") contents(file);
        else writeFully(file, typeof contents === "string" ? Buffer.from(contents) : contents);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
    } catch (error) {
      // Half a file would only take the space that is missing.
      rmSync(temporary, { force: true });
      throw error;
    }
    syncFolder(dirname(path));
  });
}

/** Removes what processes of this machine have left that were killed while they wrote this file: it may be gigabytes. */
function sweep(path: string): void {
  const [folder, start] = [dirname(path), `${basename(path)}.${hostname()}-`];
  for (const name of readdirSync(folder)) {
    const [, owner] = (name.startsWith(start) && /^(\d+)(?:-[\da-f-]{36})?\.tmp$/.exec(name.slice(start.length))) || [];
    if (owner !== undefined && !isRunning(Number(owner))) rmSync(join(folder, name), { force: true });
  }
}

/** Makes names in a folder durable. Not every file system can; those that cannot say so and lose nothing else. */
export function syncFolder(path: string): void {
  let folder: number | null = null;
  try {
    folder = openSync(path, "r");
    fsyncSync(folder);
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (!["EINVAL", "EPERM", "EBADF", "EACCES", "EISDIR"].includes(code)) throw error;
  } finally {
    if (folder !== null) closeSync(folder);
  }
}

/** One call reads or writes less than 2 GiB. */
const largestCall = 1 << 30;

/** Writes all bytes from `position` on, however many calls the system needs. */
export function writeFully(file: number, bytes: Uint8Array, position = 0): void {
  for (let done = 0; done < bytes.length; ) {
    const most = buggify("file: one call writes a few bytes") ? 7 : largestCall;
    done += writeSync(file, bytes, done, Math.min(most, bytes.length - done), position + done);
  }
}

/**
 * Fills `target` from `position` on; the system may hand a large read over in parts.
 *
 * @throws InputError when the file ends before, or cannot be read
 */
export function readFully(file: number, target: Uint8Array, position: number, path: string): void {
  for (let done = 0; done < target.length; ) {
    let count: number;
    try {
      count = readSync(file, target, done, Math.min(largestCall, target.length - done), position + done);
    } catch (error) {
      throw new InputError(`${path}: cannot be read: ${messageOf(error)}`, { cause: error });
    }
    if (count === 0) {
      throw new InputError(`${path}: ends at byte ${position + done}, expected ${position + target.length}; changed?`);
    }
    done += count;
  }
}
