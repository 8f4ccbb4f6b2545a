/**
 * One process writes a run. The lock is a file that names its owner: process, its start time (process numbers are
 * used again), and machine. It comes into being whole, by a link, and its owner touches it every few seconds.
 *
 * A lock whose owner no longer runs is stale and is taken over. Whether an owner on another machine still runs can only
 * be seen by watching the file: the machine's clock is not asked, a lock that is not touched for a while is stale.
 */
import { closeSync, linkSync, lstatSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Draft, onDisk, removeLeft, writeFully } from "../base/disk.ts";
import { MachineError } from "../base/errors.ts";
import { readBytes, unguessable } from "../base/open.ts";
import { isRunning } from "../base/processes.ts";

interface Owner {
  readonly process: number;
  /** Clock ticks since boot at which the process started; null where the system does not tell. */
  readonly started: string | null;
  readonly machine: string;
}

export interface Lock {
  /** @throws MachineError when the lock has been lost to another process */
  check(): void;
  release(): void;
}

/** Real milliseconds between two touches, and without one before an owner that cannot be asked is held to be gone. */
const beat = 2_000;
const silence = 20_000;

/**
 * @param machine stands for this machine's name
 * @throws MachineError when a living process holds the lock, or one that cannot be asked
 */
export function acquireLock(path: string, machine = hostname()): Lock {
  const self: Owner = { process: process.pid, started: startOf(process.pid), machine };
  for (let attempt = 0; attempt < 3; attempt++) {
    const file = create(path, self);
    if (file !== null) {
      // Of those that were killed while they took it.
      onDisk(`cannot remove ${path}`, () => removeLeft(dirname(path), `${basename(path)}-`, partName));
      return hold(path, self, file);
    }
    const owner = readOwner(path);
    if (owner !== null && isAlive(owner, machine) !== false) throw held(path, owner);
    remove(path, owner);
  }
  throw new MachineError(`cannot take the lock ${path}: another process keeps taking it`);
}

/**
 * Like {@link acquireLock}, and waits to see whether an owner that cannot be asked is still there.
 *
 * @param note is told what is being waited for
 */
export async function awaitLock(path: string, note: (text: string) => void, machine = hostname()): Promise<Lock> {
  await outwait(path, note, machine);
  return acquireLock(path, machine);
}

/** Whether somebody holds the lock who lives, as far as this machine can tell. */
export function isHeld(path: string): boolean {
  const owner = readOwner(path);
  return owner !== null && isAlive(owner, hostname()) !== false;
}

/** Removes the lock of an owner that cannot be asked, once it has been silent for long enough. */
export async function outwait(path: string, note: (text: string) => void, machine = hostname()): Promise<void> {
  const owner = readOwner(path);
  if (owner !== null && isAlive(owner, machine) === null) {
    note(`waiting ${silence / 1_000} s to see whether process ${owner.process} on ${owner.machine} still writes here`);
    const touched = touchOf(path);
    for (let waited = 0; waited < silence; waited += beat / 2) {
      await sleep(beat / 2);
      if (touchOf(path) !== touched) break;
    }
    if (touchOf(path) === touched) remove(path, owner);
  }
}

const held = (path: string, { process, machine }: Owner): MachineError =>
  new MachineError(
    `the run is being written by process ${process} on ${machine}; if that process is gone, remove ${path}`,
  );

function hold(path: string, self: Owner, file: number): Lock {
  // A space after the JSON is touch enough, and goes to our own file even when another has its name.
  const text = JSON.stringify(self);
  const draft = new Draft();
  draft.add(path, { ifSays: text });
  const touch = setInterval(() => {
    try {
      writeSync(file, " ", text.length);
    } catch {
      // A full disk is noticed by whoever writes more.
    }
  }, beat);
  touch.unref();
  return {
    check() {
      const owner = readOwner(path);
      if (!sameOwner(owner, self)) {
        const by = owner === null ? "" : ` by process ${owner.process} on ${owner.machine}`;
        throw new MachineError(`the lock ${path} was taken away${by}: two processes must not write one run`);
      }
    },
    release() {
      clearInterval(touch);
      closeSync(file);
      draft.remove();
    },
  };
}

/**
 * A reader sees no lock or a whole one; file systems without links get it written in place.
 *
 * @returns the open file; null when there is a lock already
 */
function create(path: string, owner: Owner): number | null {
  // Nobody can have put a link there before.
  const draft = new Draft();
  const temporary = draft.add(`${path}-${owner.process}-${unguessable()}.tmp`);
  return onDisk(`cannot lock the run folder ${dirname(path)}`, () => {
    const file = openSync(temporary, "wx");
    let isOurs = false;
    try {
      writeFully(file, Buffer.from(JSON.stringify(owner)));
      linkSync(temporary, path);
      isOurs = true;
      return file;
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      // Gone: whoever has the lock by now took it for a dead process's.
      if (code === "EEXIST" || code === "ENOENT") return null;
      if (!["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"].includes(code)) throw error;
      return createInPlace(path, owner);
    } finally {
      if (!isOurs) closeSync(file);
      // A lock that leaves something in the folder is none.
      rmSync(temporary, { force: true });
      draft.keep();
    }
  });
}

function createInPlace(path: string, owner: Owner): number | null {
  try {
    const file = openSync(path, "wx");
    writeFully(file, Buffer.from(JSON.stringify(owner)));
    return file;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return null;
    throw error;
  }
}

/** Takes a stale lock away, and puts it back if meanwhile it has become somebody else's. */
function remove(path: string, stale: Owner | null): void {
  const aside = `${path}-${process.pid}-${unguessable()}.stale`;
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  if (!sameOwner(readOwner(aside), stale)) {
    try {
      linkSync(aside, path);
    } catch {
      // Its owner notices at its next checkpoint.
    }
  }
  removeFile(aside);
}

const partName = /^(\d+)(?:-[\da-f-]{36})?\.(?:tmp|stale)$/;

const removeFile = (path: string): void => onDisk(`cannot remove ${path}`, () => rmSync(path, { force: true }));

/** Null when the file is gone or holds nothing readable: then nobody vouches for it. */
function readOwner(path: string): Owner | null {
  try {
    const { process, started, machine } = JSON.parse(readBytes(path, largestLock, "refused").toString("utf8")) as Owner;
    return typeof process === "number" && typeof machine === "string" ? { process, started, machine } : null;
  } catch {
    return null;
  }
}

/** A name of a machine has at most 255 characters. */
const largestLock = 2 ** 12;

const sameOwner = (a: Owner | null, b: Owner | null): boolean =>
  a === b ||
  (a !== null && b !== null && a.process === b.process && a.started === b.started && a.machine === b.machine);

function touchOf(path: string): number | null {
  return lstatSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null;
}

/** Null when that cannot be told from here. */
function isAlive(owner: Owner, machine: string): boolean | null {
  if (owner.machine !== machine) return null;
  if (!isRunning(owner.process)) return false;
  return owner.started === null ? null : startOf(owner.process) === owner.started;
}

/** Field 22 of /proc/<pid>/stat; the process name before it may hold spaces and brackets. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
