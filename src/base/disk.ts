/** The machine's disk: folders, files that appear whole or not at all, and what to say when it refuses. */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { InputError, MachineError, messageOf } from "./errors.ts";

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

/** Turns a failed file operation into a {@link MachineError} that says what was being done and what to do about it. */
export function onDisk<Result>(doing: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? "";
    throw new MachineError(`${doing}: ${diskTroubles[code] ?? messageOf(cause)}`, { cause });
  }
}

const diskTroubles: Readonly<Record<string, string>> = {
  EACCES: "permission denied; choose another folder with --out",
  EPERM: "operation not permitted; choose another folder with --out",
  EROFS: "the file system is read-only; choose another folder with --out",
  ENOTDIR: "a part of the path is a file, not a folder",
  EEXIST: "a file of that name is in the way",
  ENOSPC: "the disk is full; free some space, then continue with flame resume",
  EDQUOT: "the disk quota is used up; free some space, then continue with flame resume",
  EFBIG: "the file would grow over the size limit",
};

/** Replaces `path` in one step: after a crash it holds either the old bytes or the new ones. */
export function writeAtomically(path: string, bytes: Uint8Array | string): void {
  const temporary = `${path}.tmp`;
  onDisk(`cannot write ${path}`, () => {
    // One that was left behind, or a link in its place, is not written to.
    rmSync(temporary, { force: true });
    try {
      const file = openSync(temporary, "wx");
      try {
        writeFully(file, typeof bytes === "string" ? Buffer.from(bytes) : bytes);
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
    syncFolder(join(path, ".."));
  });
}

/** Makes a rename durable. Not every file system can; those that cannot say so and lose nothing else. */
export function syncFolder(path: string): void {
  let folder: number;
  try {
    folder = openSync(path, "r");
  } catch {
    return;
  }
  try {
    fsyncSync(folder);
  } catch (error) {
    if (!["EINVAL", "EPERM", "EBADF"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    closeSync(folder);
  }
}

function writeFully(file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
}
