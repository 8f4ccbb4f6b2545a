/**
 * One process writes a run. The lock is a file that names its owner: process, its start time (process numbers are
 * used again), and machine. A lock whose owner no longer runs is stale and is taken over.
 */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { MachineError } from "../base/errors.ts";
import { onDisk } from "./run-folder.ts";

interface Owner {
  readonly process: number;
  /** Clock ticks since boot at which the process started; null where the system does not tell. */
  readonly started: string | null;
  readonly machine: string;
}

export interface Lock {
  release(): void;
}

/** @throws MachineError when a living process holds the lock, or one on another machine that cannot be asked. */
export function acquireLock(path: string): Lock {
  const self: Owner = { process: process.pid, started: startOf(process.pid), machine: hostname() };
  for (let attempt = 0; ; attempt++) {
    if (create(path, self)) {
      return {
        release: () => {
          if (sameOwner(readOwner(path), self)) rmSync(path, { force: true });
        },
      };
    }
    const owner = readOwner(path);
    if (owner !== null && (owner.machine !== self.machine || isAlive(owner))) {
      throw new MachineError(
        `the run is being written by process ${owner.process} on ${owner.machine}; ` +
          `if that process is gone, remove ${path}`,
      );
    }
    if (attempt === 2) throw new MachineError(`cannot take the lock ${path}: another process keeps taking it`);
    rmSync(path, { force: true });
  }
}

function create(path: string, owner: Owner): boolean {
  return onDisk(`cannot lock the run folder`, () => {
    let file: number;
    try {
      file = openSync(path, "wx");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw error;
    }
    writeSync(file, JSON.stringify(owner));
    closeSync(file);
    return true;
  });
}

/** Null when the file is gone or was cut off while being written: then nobody vouches for it. */
function readOwner(path: string): Owner | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Owner;
  } catch {
    return null;
  }
}

const sameOwner = (a: Owner | null, b: Owner): boolean =>
  a !== null && a.process === b.process && a.started === b.started && a.machine === b.machine;

function isAlive(owner: Owner): boolean {
  try {
    process.kill(owner.process, 0);
  } catch (error) {
    // EPERM: it runs, and belongs to someone else.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return owner.started === null || startOf(owner.process) === owner.started;
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
