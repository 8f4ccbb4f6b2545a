/** The machine's disk: folders, files that appear whole or not at all, what to say when it refuses, and what is not to stay. */

import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { buggify } from "./buggify.ts";
import { InputError, MachineError, messageOf } from "./errors.ts";
import { readBytes, unguessable } from "./open.ts";
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

/**
 * Lends an empty folder until `work` is done.
 *
 * @throws MachineError that says who names the place
 */
export async function inScratch<Result>(name: string, work: (folder: string) => Result): Promise<Awaited<Result>> {
  const place = tmpdir();
  const draft = new Draft();
  try {
    const folder = onDisk(`cannot make a folder in ${place}, which TMPDIR names`, () => {
      removeScratch();
      const path = draft.add(join(place, `${scratchOfMachine()}${process.pid}-${name}-${unguessable()}`));
      mkdirSync(path, 0o700);
      return path;
    });
    return await work(folder);
  } finally {
    draft.remove();
  }
}

const scratchOfMachine = (): string => `flame-${hostname()}-`;

/** Removes the scratch of processes of this machine that are over. */
export function removeScratch(isOver = isGone): void {
  // Anybody may put something there, and change it while it is removed.
  const isOurs = (path: string) =>
    [undefined, lstatSync(path, { throwIfNoEntry: false })?.uid].includes(process.getuid?.());
  removeLeft(tmpdir(), scratchOfMachine(), /^(\d+)-/, (owner, path) => isOver(owner) && isOurs(path));
}

/**
 * Removes what processes of this machine have left in a folder that were killed, but for what is somebody else's.
 *
 * @param start of its names
 * @param end of its names, which has the number of the process
 */
export function removeLeft(
  folder: string,
  start: string,
  end: RegExp,
  isOver: (owner: number, path: string) => boolean = isGone,
): void {
  for (const name of readdirSync(folder)) {
    const [, owner] = (name.startsWith(start) && end.exec(name.slice(start.length))) || [];
    const path = join(folder, name);
    if (owner === undefined || !isOver(Number(owner), path)) continue;
    try {
      removePart({ path });
    } catch (error) {
      if (!["EPERM", "EACCES"].includes((error as NodeJS.ErrnoException).code!)) throw error;
    }
  }
}

const isGone = (process: number): boolean => !isRunning(process);

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
  onDisk(`cannot write ${path}`, () => {
    const { file, publish, close } = openDraft(path);
    try {
      if (typeof contents === "function") contents(file);
      else writeFully(file, typeof contents === "string" ? Buffer.from(contents) : contents);
      publish();
    } finally {
      close();
    }
  });
}

/**
 * As {@link writeAtomically}, for contents that are worked out meanwhile, and a path that the user names: a link stays and
 * leads to the new file, and a pipe or a device is written to.
 *
 * @param write at no position of the file but its end
 */
export async function streamAtomically(path: string, write: (file: number) => Promise<void>): Promise<void> {
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile()) {
      const pipe = openSync(path, "w");
      return await write(pipe).finally(() => closeSync(pipe));
    }
    const { file, publish, close } = openDraft(endOf(path));
    try {
      await write(file);
      publish();
    } finally {
      close();
    }
  } catch (cause) {
    throw diskError(`cannot write ${path}`, cause);
  }
}

/** Where a link leads, whether something is there or not. */
function endOf(path: string): string {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return path;
  return endOf(resolve(realpathSync(dirname(path)), readlinkSync(path)));
}

/** An open file beside the path, to be given its name. What was left of it may be gigabytes. */
function openDraft(path: string) {
  removeLeft(dirname(path), `${basename(path)}.${hostname()}-`, tmpName);
  const draft = new Draft();
  // In containers that share a folder everyone may have the same process number; nobody can have put anything there.
  const temporary = draft.add(`${path}.${hostname()}-${process.pid}-${unguessable()}.tmp`);
  let file: number | null;
  try {
    file = openSync(temporary, "wx");
  } catch (error) {
    draft.remove();
    throw error;
  }
  const end = () => {
    if (file !== null) closeSync(file);
    file = null;
  };
  return {
    file,
    publish() {
      fsyncSync(file!);
      end();
      renameSync(temporary, path);
      draft.keep();
      syncFolder(dirname(path));
    },
    /** Half a file would only take the space that is missing. */
    close() {
      end();
      draft.remove();
    },
  };
}

const tmpName = /^(\d+)(?:-[\da-f-]{36})?\.tmp$/;

/**
 * What is on the disk and not finished: a file under a name of its own until it is whole, a model that lacks its last file,
 * scratch. However this process ends, by an error, by `process.exit` or by a signal (`cli/screen/interrupt.ts`), nothing of
 * it stays. Only what is killed leaves some, and the next to write there removes that: {@link removeLeft}.
 */
export interface Part {
  readonly path: string;
  /** A folder that others may have put something into, which stays then. */
  readonly ifEmpty?: boolean;
  /** A folder that was there before, which stays; what is in it does not. */
  readonly isPlace?: boolean;
  /** A small file that another may have put there since; ours begins so. */
  readonly ifSays?: string;
}

/** Of this thread. */
const parts = new Set<Part>();
let tell: (parts: readonly Part[]) => void = () => {};

/** Calls `listen` with all that is unfinished, now and whenever that changes: before a part is made, and after it is gone. */
export function onDrafts(listen: typeof tell): void {
  tell = listen;
  if (parts.size > 0) tell([...parts]);
}

/** Parts of one work, which stay together or go together. */
export class Draft {
  readonly #parts: Part[] = [];

  /** Says that this will be there, or a folder with all that is in it, and not be finished; returns the path. */
  add(path: string, only: Omit<Part, "path"> = {}): string {
    const part = { path, ...only };
    if (!removesAtExit) process.once("exit", removeDrafts);
    removesAtExit = true;
    parts.add(part);
    this.#parts.push(part);
    tell([...parts]);
    return path;
  }

  /** The parts are finished, or have other names. */
  keep(): void {
    for (const part of this.#parts.splice(0)) parts.delete(part);
    tell([...parts]);
  }

  /** Removes what there is of the parts, as far as the system permits: the error that ends a work must not be lost. */
  remove(): void {
    removeParts(this.#parts);
    this.keep();
  }
}

/** Removes what there is of them, as far as the system permits. */
export function removeParts(left: readonly Part[]): void {
  for (const part of left.toReversed()) {
    try {
      removePart(part);
    } catch {
      // It is not there, or more than ours is in it; what cannot be removed the next to write there tries again.
    }
  }
}

function removePart({ path, ifEmpty = false, isPlace = false, ifSays }: Part): void {
  if (
    ifSays !== undefined &&
    !readBytes(path, 2 ** 12, "refused")
      .toString()
      .startsWith(ifSays)
  )
    return;
  if (ifEmpty) rmdirSync(path);
  else if (isPlace) removeParts(readdirSync(path).map((name) => ({ path: join(path, name) })));
  else rmSync(path, { recursive: true, force: true });
}

let removesAtExit = false;

/** Everything unfinished of this thread. */
export const removeDrafts = (): void => removeParts([...parts]);

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
