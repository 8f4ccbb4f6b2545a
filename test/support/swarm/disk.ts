/**
 * A disk that fails as disks do, under one folder of the real one. While it is in use, `node:fs` itself is what lies: no file
 * operation of the program gets by, and the program has nothing in it for that.
 *
 * What was written and not made durable may survive a power cut in part, out of order, or not at all: a file's bytes without
 * `fsync` on the file, and a name (new, renamed, removed) without `fsync` on its folder. Names of one folder survive in the
 * order in which they were given. After the model of CrashMonkey (Mohan et al., OSDI 2018), with chance in the place of
 * exhaustion: everything follows from the draws, the clock included.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { dirname, join, relative } from "node:path";
import type { Draws } from "../../../src/base/random.ts";

/** The machine is off: whoever asks it for something gets this. */
export class PowerCut extends Error {
  override readonly name = "PowerCut";
}

/** What goes wrong from one power-on to the next; operations count from 0. */
export interface Trouble {
  /** The operation in the middle of which the power fails; past the last, it fails when everything is done. */
  readonly cutAt: number;
  /** The operation that the system refuses. */
  readonly refuseAt: number;
  /** Reads and writes often do a part of what they are asked for. */
  readonly isShort: boolean;
  /** Nothing is made durable, whatever `fsync` says. */
  readonly lies: boolean;
  /** Seconds pass in an `fsync`. */
  readonly isSlow: boolean;
  /** There are no hard links. */
  readonly hasNoLinks: boolean;
}

export const noTrouble: Trouble = {
  cutAt: Infinity,
  refuseAt: Infinity,
  isShort: false,
  lies: false,
  isSlow: false,
  hasNoLinks: false,
};

type Operation = "open" | "read" | "write" | "sync" | "name";

/** What the system may say of each. */
const refusals: Readonly<Record<Operation, readonly string[]>> = {
  open: ["EIO", "EMFILE", "ENOSPC"],
  read: ["EIO"],
  write: ["ENOSPC", "EIO", "EDQUOT"],
  sync: ["EIO", "ENOSPC"],
  name: ["EIO", "ENOSPC", "EROFS"],
};

type Change = { readonly at: number; readonly bytes: Uint8Array } | { readonly length: number };

/** Bytes that survive, and what was done to them since. */
interface Content {
  durable: Buffer;
  readonly since: Change[];
}

type Named = Content | "folder";

/** Numbers of processes go no higher: what this one is called after the machine has started again. */
const nobody = "4194305";

/** The functions of `node:fs` that change something, or read. */
const real = { ...fs };
const realNow = performance.now.bind(performance);
let active: SimulatedDisk | null = null;
let isInstalled = false;

export class SimulatedDisk {
  readonly root: string;
  readonly #draws: Draws;
  #trouble = noTrouble;
  /** Whatever the program says then, nobody hears it. */
  isOff = false;
  /** Operations since the power came on. */
  operations = 0;
  /** Real milliseconds, as the program is told. */
  clock = 0;
  /** Names as the program sees them, and as they would be found after a power cut. */
  #seen = new Map<string, Named>();
  #kept = new Map<string, Named>();
  /** What became of names and is not durable, oldest first. */
  #waiting: { readonly folder: string; readonly apply: (kept: Map<string, Named>) => void }[] = [];
  readonly #open = new Map<number, Content | string>();

  /** @param root an empty folder */
  constructor(root: string, draws: Draws) {
    this.root = root;
    this.#draws = draws;
  }

  /** Everything under the root goes through this disk until the action ends; one disk at a time. */
  async whileOn<Result>(trouble: Trouble, action: () => Promise<Result>): Promise<Result> {
    install();
    if (active !== null) throw new Error("another simulated disk is in use");
    active = this;
    this.#trouble = trouble;
    this.operations = 0;
    this.isOff = false;
    try {
      return await action();
    } finally {
      active = null;
    }
  }

  /**
   * The power fails, or has failed, and comes back: the folder holds what survived. Who held a lock is no process any more.
   *
   * @param rots whether a bit of some file has turned as well
   * @returns the path of that file, if there was one
   */
  restart(rots: boolean): string | null {
    this.#settleNames();
    const survived = new Map<Content, Buffer>();
    real.rmSync(this.root, { recursive: true });
    real.mkdirSync(this.root);
    const files: { readonly path: string; readonly size: number }[] = [];
    for (const [path, named] of [...this.#kept].sort(([a], [b]) => (a < b ? -1 : 1))) {
      // Its folder may be gone.
      if (!real.existsSync(dirname(path))) continue;
      if (named === "folder") {
        real.mkdirSync(path);
        continue;
      }
      const bytes = survived.get(named) ?? this.#survivors(named);
      survived.set(named, bytes);
      const place = path.replaceAll(`-${process.pid}-`, `-${nobody}-`);
      const text = bytes.toString("latin1");
      const isLock = /^\{"process":\d+,"started":/.test(text);
      real.writeFileSync(place, isLock ? Buffer.from(text.replace(/\d+/, nobody), "latin1") : bytes);
      files.push({ path: place, size: bytes.length });
    }
    const rotten = rots ? this.#rot(files) : null;
    this.#kept = new Map(
      real.readdirSync(this.root, { recursive: true, withFileTypes: true }).map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return [path, entry.isDirectory() ? "folder" : { durable: real.readFileSync(path), since: [] }];
      }),
    );
    this.#seen = new Map(this.#kept);
    this.#open.clear();
    return rotten;
  }

  /** Turns one bit of all. @returns the path of its file; null where there are only empty ones */
  #rot(files: readonly { readonly path: string; readonly size: number }[]): string | null {
    let at = this.#draws.below(
      Math.max(
        1,
        files.reduce((sum, { size }) => sum + size, 0),
      ),
    );
    for (const { path, size } of files) {
      if (at < size) {
        const bytes = real.readFileSync(path);
        bytes[at]! ^= 1 << this.#draws.below(8);
        real.writeFileSync(path, bytes);
        return path;
      }
      at -= size;
    }
    return null;
  }

  /** Of each folder's changes of names some first ones survive. */
  #settleNames(): void {
    for (const folder of new Set(this.#waiting.map(({ folder }) => folder))) {
      const changes = this.#waiting.filter((change) => change.folder === folder);
      const survive = this.#share(changes.length);
      for (const { apply } of changes.slice(0, survive)) apply(this.#kept);
    }
    this.#waiting = [];
  }

  /** Any of the changes may be missing, and one that is there may be cut off: what lies before it is zeros then. */
  #survivors({ durable, since }: Content): Buffer {
    const chance = this.#share(4) / 4;
    return since
      .filter(() => this.#draws.bernoulli(chance))
      .map((change) => ("bytes" in change ? this.#torn(change) : change))
      .reduce(changed, durable);
  }

  #torn({ at, bytes }: Extract<Change, { bytes: Uint8Array }>): Change {
    return { at, bytes: bytes.subarray(0, this.#share(bytes.length)) };
  }

  /** None, all, or any number between, each in a third of the cases. */
  #share(of: number): number {
    return [0, of, this.#draws.below(of + 1)][this.#draws.below(3)]!;
  }

  holds(path: unknown): boolean {
    return path === this.root || (typeof path === "string" && path.startsWith(`${this.root}/`));
  }

  /** A file's content or a folder's path. */
  openAs(file: number): Content | string | undefined {
    return this.#open.get(file);
  }

  /** One operation more. @returns what was open under this number */
  #step(is: Operation, path: string, half: () => void = () => {}): void {
    if (this.isOff) throw new PowerCut("the power is off");
    this.clock += 0.01;
    const number = this.operations++;
    if (number === this.#trouble.cutAt) {
      half();
      this.isOff = true;
      throw new PowerCut(`the power failed at operation ${number} (${is} ${relative(this.root, path)})`);
    }
    if (number !== this.#trouble.refuseAt) return;
    half();
    const code = refusals[is][this.#draws.below(refusals[is].length)]!;
    throw Object.assign(new Error(`${code}: refused by the simulated disk, ${is} '${path}'`), { code });
  }

  #change(path: string, apply: (kept: Map<string, Named>) => void): void {
    apply(this.#seen);
    this.#waiting.push({ folder: dirname(path), apply });
  }

  openSync(path: string, flags: string | number, mode?: number): number {
    this.#step("open", path);
    const file = real.openSync(path, flags, mode);
    if (real.fstatSync(file).isDirectory()) {
      this.#open.set(file, path);
      return file;
    }
    const known = this.#seen.get(path);
    const content: Content =
      known === undefined || known === "folder" ? { durable: Buffer.alloc(0), since: [] } : known;
    if (content !== known) this.#change(path, (names) => names.set(path, content));
    this.#open.set(file, content);
    return file;
  }

  closeSync(file: number): void {
    this.#open.delete(file);
    real.closeSync(file);
  }

  writeSync(content: Content, file: number, bytes: Uint8Array, position: number | null): number {
    const at = position ?? real.fstatSync(file).size;
    const write = (length: number): number => {
      const part = Uint8Array.from(bytes.subarray(0, length));
      content.since.push({ at, bytes: part });
      return real.writeSync(file, part, 0, length, at);
    };
    // The touch of a lock is the clock's doing.
    if (bytes.length > 1) this.#step("write", this.#nameOf(content), () => write(this.#draws.below(bytes.length + 1)));
    return write(this.#part(bytes.length));
  }

  readSync(content: Content, file: number, target: NodeJS.ArrayBufferView, [offset, length, position]: Place): number {
    this.#step("read", this.#nameOf(content));
    return real.readSync(file, target, offset, this.#part(length), position);
  }

  #part(length: number): number {
    const isPart = length > 1 && this.#trouble.isShort && this.#draws.bernoulli(0.3);
    return isPart ? 1 + this.#draws.below(length - 1) : length;
  }

  fsyncSync(what: Content | string): void {
    this.#step("sync", typeof what === "string" ? what : this.#nameOf(what), () => {
      // Pages that could not be written are clean from then on, and lost.
      if (typeof what !== "string") what.since.length = 0;
    });
    if (this.#trouble.isSlow) this.clock += 5_000 * this.#draws.uniform();
    if (this.#trouble.lies) return;
    if (typeof what !== "string") {
      what.durable = what.since.reduce(changed, what.durable);
      what.since.length = 0;
      return;
    }
    for (const { folder, apply } of this.#waiting) if (folder === what) apply(this.#kept);
    this.#waiting = this.#waiting.filter(({ folder }) => folder !== what);
  }

  ftruncateSync(content: Content, file: number, length: number): void {
    this.#step("write", this.#nameOf(content));
    real.ftruncateSync(file, length);
    content.since.push({ length });
  }

  renameSync(from: string, to: string): void {
    this.#step("name", to);
    real.renameSync(from, to);
    const content = this.#seen.get(from)!;
    this.#change(to, (names) => {
      names.delete(from);
      names.set(to, content);
    });
  }

  rmSync(path: string, options?: fs.RmOptions): void {
    this.#step("name", path);
    real.rmSync(path, options);
    if (this.#seen.has(path)) this.#change(path, (names) => names.delete(path));
  }

  linkSync(from: string, to: string): void {
    this.#step("name", to);
    if (this.#trouble.hasNoLinks) throw Object.assign(new Error("EPERM: no links here"), { code: "EPERM" });
    real.linkSync(from, to);
    const content = this.#seen.get(from)!;
    this.#change(to, (names) => names.set(to, content));
  }

  mkdirSync(path: string): void {
    this.#step("name", path);
    real.mkdirSync(path);
    this.#change(path, (names) => names.set(path, "folder"));
  }

  #nameOf(content: Content): string {
    return [...this.#seen].find(([, named]) => named === content)?.[0] ?? join(this.root, "(removed)");
  }
}

/** Each is the real disk's for what is none of the simulated one's. */
const hooks = (): Partial<typeof fs> => {
  type ByPath = "openSync" | "renameSync" | "rmSync" | "linkSync" | "mkdirSync";
  const byPath =
    (name: ByPath) =>
    (path: unknown, ...others: unknown[]) => {
      const disk = active?.holds(path) === true ? active : real;
      return (disk[name] as Untyped).call(disk, path, ...others);
    };
  const byFile = (name: "fsyncSync" | "ftruncateSync") => (file: number, length?: number) => {
    const what = active?.openAs(file);
    return what === undefined
      ? (real[name] as Untyped)(file, length)
      : (active![name] as Untyped).call(active, what, file, length);
  };
  const contentOf = (file: unknown): Content | null => {
    const what = typeof file === "number" ? active?.openAs(file) : undefined;
    return typeof what === "object" ? what : null;
  };
  const functions: Readonly<Record<string, (...args: never[]) => unknown>> = {
    ...Object.fromEntries(
      (["openSync", "renameSync", "rmSync", "linkSync", "mkdirSync"] as const).map((name) => [name, byPath(name)]),
    ),
    fsyncSync: byFile("fsyncSync"),
    ftruncateSync: byFile("ftruncateSync"),
    closeSync: (file: number) => (active ?? real).closeSync(file),
    writeSync(file: number, data: string | Uint8Array, a?: number, b?: number, c?: number) {
      const content = contentOf(file);
      if (content === null) return (real.writeSync as Untyped)(file, data, a, b, c);
      if (typeof data === "string") return active!.writeSync(content, file, Buffer.from(data), a ?? null);
      const [from, length] = [a ?? 0, b ?? data.length - (a ?? 0)];
      return active!.writeSync(content, file, data.subarray(from, from + length), c ?? null);
    },
    readSync(file: number, target: NodeJS.ArrayBufferView, ...place: Place) {
      const content = contentOf(file);
      return content === null ? real.readSync(file, target, ...place) : active!.readSync(content, file, target, place);
    },
    writeFileSync(file: number, data: string, ...others: unknown[]) {
      const content = contentOf(file);
      if (content === null) return (real.writeFileSync as Untyped)(file, data, ...others);
      let rest = Buffer.from(data);
      while (rest.length > 0) rest = rest.subarray(active!.writeSync(content, file, rest, null));
    },
  };
  return functions;
};

type Untyped = (...args: unknown[]) => unknown;
type Place = [offset: number, length: number, position: number | null];

function changed(bytes: Buffer, change: Change): Buffer {
  if ("length" in change) return Buffer.concat([bytes.subarray(0, change.length)], change.length);
  const { at, bytes: added } = change;
  const whole = bytes.length >= at + added.length ? Buffer.from(bytes) : Buffer.concat([bytes], at + added.length);
  whole.set(added, at);
  return whole;
}

/** `import { openSync } from "node:fs"` sees it as well. */
function install(): void {
  if (isInstalled) return;
  isInstalled = true;
  Object.assign(fs, hooks());
  syncBuiltinESMExports();
  performance.now = () => active?.clock ?? realNow();
}
