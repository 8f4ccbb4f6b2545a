/**
 * Keeps code of a scenario's author from looking at the machine: what reads the clock, an unkeyed random number or the
 * order of things that have none gives another run each time, and shows it only much later.
 *
 * The functions below stand in the place of the usual ones once a scenario has code of its own. They do what they always
 * did, unless that code is what calls them: while one of its functions runs, and while its file is loaded.
 */
import childProcess from "node:child_process";
import crypto from "node:crypto";
import fs, { type Dirent, existsSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import os from "node:os";
import { dirname, join, relative, sep } from "node:path";
import timers from "node:timers";
import { fileURLToPath } from "node:url";
import { promiseHooks } from "node:v8";
import { ScenarioError } from "../base/errors.ts";
import type { OwnParts, Scenario } from "../scenario/define.ts";

/** The function of the author's that is running: where it stands in the scenario. */
let running: string | null = null;
/** The folder whose files are the author's, while they are loaded. */
let loading: string | null = null;

/** The same scenario, with every function of its author's under guard. */
export function guardScenario({ kind, data, own }: Scenario): Scenario {
  const guards = guardParts(own);
  const guardedData = guardFunctions(data, "") as Scenario["data"];
  return { kind, data: guardedData, own: guards };
}

/** Loads a scenario's file under guard. */
export async function guardLoading<Module>(file: string, load: () => Promise<Module>): Promise<Module> {
  install();
  loading = rootOf(file);
  try {
    return await load();
  } finally {
    loading = null;
  }
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** @param where names the function for its author: `world.timeline[3].effect.run` */
export function guarded<Own extends (...args: never[]) => unknown>(where: string, own: Own): Own {
  if (wrappers.has(own)) return own;
  install();
  const call = own as unknown as Method;
  const wrapper = function (this: unknown, ...args: unknown[]): unknown {
    const outer = running;
    running = where;
    // What a function of another's begins is for the outer one to answer for, too.
    const stopWatching = outer === null ? promiseHooks.onInit(seePromise) : null;
    let result: unknown;
    let begun = 0;
    try {
      result = call.apply(this, args);
    } finally {
      running = outer;
      if (stopWatching !== null) (stopWatching as () => void)();
      begun = forgetPromises();
    }
    if (isPromise(result)) throw new ScenarioError(`${where} returns a promise; expected its result at once`);
    if (begun > 0) {
      throw new ScenarioError(
        `${where} begins what would end later (a promise, of an async function or import()); expected all of it at once`,
      );
    }
    return result;
  };
  Object.defineProperty(wrapper, "name", { value: own.name });
  wrappers.add(wrapper);
  return wrapper as unknown as Own;
}

/** What the running function has begun and nobody waits for. */
let promises: Promise<unknown>[] = [];
const seePromise = (promise: Promise<unknown>): void => void promises.push(promise);

/** The run ends with an error that says more than theirs would. @returns how many there were */
function forgetPromises(): number {
  const begun = promises;
  if (begun.length === 0) return 0;
  promises = [];
  for (const promise of begun) promise.catch(() => undefined);
  return begun.length;
}

/** Anything that would answer later. */
const isPromise = (value: unknown): boolean =>
  typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";

const wrappers = new WeakSet<object>();

function guardFunctions(value: unknown, path: string): unknown {
  if (typeof value === "function") return guarded(path, value as () => unknown);
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) {
    const items = value.map((item, at) => guardFunctions(item, `${path}[${at}]`));
    return items.every((item, at) => item === value[at]) ? value : items;
  }
  const fields = Object.entries(value).map(
    ([key, field]) => [key, guardFunctions(field, path === "" ? key : `${path}.${key}`)] as const,
  );
  const isSame = fields.every(([key, field]) => field === (value as Readonly<Record<string, unknown>>)[key]);
  return isSame ? value : Object.fromEntries(fields);
}

function guardParts({ strategy, policy, sampler, expect }: OwnParts): OwnParts {
  return {
    ...(strategy === undefined ? {} : { strategy: guardMethods(strategy, "strategy") }),
    ...(policy === undefined ? {} : { policy: guardMethods(policy, "rounds.policy") }),
    ...(sampler === undefined ? {} : { sampler: guardMethods(sampler, "rounds.sampler") }),
    expect: expect.map((claim) => ({ ...claim, check: guarded(`expect "${claim.claim}"`, claim.check) })),
  };
}

/** Works for objects of a class, too, whose methods are not their own. */
function guardMethods<Part extends object>(part: Part, where: string): Part {
  const methods = new Map<PropertyKey, unknown>();
  return new Proxy(part, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      if (!methods.has(key)) methods.set(key, guarded(`${where}.${String(key)}`, value.bind(target) as () => unknown));
      return methods.get(key);
    },
  });
}

/** @throws ScenarioError when it is the author's code that asks */
function refuse(what: string, instead: string): void {
  const who = running ?? authorsLine();
  if (who === null) return;
  const wanted = running === null ? "plain values; --seed and --set change them from the command line" : instead;
  throw new ScenarioError(`${who} ${what}: no two runs would be the same. Expected ${wanted}`);
}

/** The author's own line, if there is one below the caller on the stack; null when nothing is being loaded. */
function authorsLine(): string | null {
  if (loading === null) return null;
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 100;
  const stack = new Error().stack ?? "";
  Error.stackTraceLimit = limit;
  for (const line of stack.split("\n")) {
    // What a loader does for an import of the author's is not the author's doing.
    if (line.includes("node:internal/modules/")) return null;
    const [, place, file] = /((?:file:\/\/)?(\/[^()]+?|[A-Za-z]:[^()]+?):\d+:\d+)\)?$/.exec(line) ?? [];
    if (place === undefined || file === undefined || line.includes("at async ")) continue;
    const path = place.startsWith("file:") ? fileURLToPath(place.replace(/:\d+:\d+$/, "")) : file;
    if (isAuthors(path, loading)) return `${shortest(path)}:${place.split(":").at(-2)}`;
  }
  return null;
}

function shortest(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
}

const isAuthors = (path: string, root: string): boolean =>
  path.startsWith(root + sep) && !path.includes(`${sep}node_modules${sep}`) && !path.startsWith(programRoot);

/** `src/` or `dist/`: what the program itself does is not the author's doing. */
const programRoot = join(dirname(dirname(fileURLToPath(import.meta.url))), sep);

/** The folder of the package that the file belongs to; its own folder if there is none. */
function rootOf(file: string): string {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
  }
  return dirname(file);
}

const clock = "virtual time, such as sim.now in a hook or view.now in a policy";
const world = "what the function is given, such as sim.fleet and sim.traffic in a hook";
const chance = "the draws that the function is given, such as sim.draws in a hook";

let installed = false;

function install(): void {
  if (installed) return;
  installed = true;
  const before = (holder: object, name: string, what: string, instead: string): void => {
    const original = Reflect.get(holder, name) as Method | undefined;
    if (typeof original !== "function") return;
    const trap = function (this: unknown, ...args: unknown[]): unknown {
      if (running !== null || loading !== null) refuse(what, instead);
      return original.apply(this, args);
    };
    // What hangs on the function stays there, such as process.hrtime.bigint.
    Object.setPrototypeOf(trap, original);
    Object.defineProperty(holder, name, { value: trap, writable: true, configurable: true, enumerable: true });
  };
  before(Math, "random", "calls Math.random", chance);
  for (const name of ["now", "mark", "measure", "toJSON", "eventLoopUtilization"]) {
    before(performance, name, `reads the clock (performance.${name})`, clock);
  }
  const { timeOrigin } = performance;
  Object.defineProperty(performance, "timeOrigin", {
    get() {
      if (running !== null || loading !== null) refuse("reads the clock (performance.timeOrigin)", clock);
      return timeOrigin;
    },
    configurable: true,
    enumerable: true,
  });
  before(process.hrtime, "bigint", "reads the clock (process.hrtime)", clock);
  before(process, "hrtime", "reads the clock (process.hrtime)", clock);
  before(process, "uptime", "reads the clock (process.uptime)", clock);
  for (const name of ["cpuUsage", "resourceUsage"]) before(process, name, `reads the clock (process.${name})`, clock);
  before(process.memoryUsage, "rss", "looks at the machine (process.memoryUsage)", world);
  before(process, "memoryUsage", "looks at the machine (process.memoryUsage)", world);
  for (const name of ["uptime", "loadavg", "freemem"]) before(os, name, `looks at the machine (os.${name})`, world);
  const webCrypto = Object.getPrototypeOf(globalThis.crypto) as object;
  for (const name of ["getRandomValues", "randomUUID"]) before(webCrypto, name, `calls crypto.${name}`, chance);
  for (const name of ["randomBytes", "randomInt", "randomUUID", "randomFill", "randomFillSync"]) {
    before(crypto, name, `calls crypto.${name}`, chance);
  }
  globalThis.Date = new Proxy(Date, {
    construct(target, args: unknown[], newTarget) {
      if (args.length === 0 && (running !== null || loading !== null)) refuse("reads the clock (new Date())", clock);
      return Reflect.construct(target, args, newTarget) as object;
    },
    apply(target) {
      if (running !== null || loading !== null) refuse("reads the clock (Date())", clock);
      return target();
    },
    get(target, key) {
      if (key === "now" && (running !== null || loading !== null)) refuse("reads the clock (Date.now)", clock);
      return Reflect.get(target, key) as unknown;
    },
  });
  trapFormats(Intl.DateTimeFormat.prototype);
  // Every date leads to it.
  Object.defineProperty(Date.prototype, "constructor", { value: Date, writable: true, configurable: true });
  installForFunctions();
  syncBuiltinESMExports();
}

/** Without a date, a format is that of now. */
function trapFormats(prototype: Intl.DateTimeFormat): void {
  const look = (date: unknown): void => {
    if (date === undefined && (running !== null || loading !== null)) {
      refuse("reads the clock (Intl.DateTimeFormat without a date)", clock);
    }
  };
  const { get } = Object.getOwnPropertyDescriptor(prototype, "format")!;
  Object.defineProperty(prototype, "format", {
    get(this: Intl.DateTimeFormat) {
      const format = get!.call(this) as Intl.DateTimeFormat["format"];
      if (running === null && loading === null) return format;
      return (date?: Date | number) => {
        look(date);
        return format(date);
      };
    },
    configurable: true,
  });
  const { formatToParts } = prototype;
  prototype.formatToParts = function (date) {
    look(date);
    return formatToParts.call(this, date);
  };
}

/** What may be done while a file is loaded, but not in a function that the run calls: the result would come too late. */
function installForFunctions(): void {
  const before = (holder: object, name: string, what: string): void => {
    const original = Reflect.get(holder, name) as Method;
    const trap = function (this: unknown, ...args: unknown[]): unknown {
      // What the author calls may use these in turn: console.log has its bytes written on the next tick.
      if (running !== null && !isCalledByNode()) refuse(what, "that to be done when the scenario's file is loaded");
      const result = original.apply(this, args);
      // The system lists a folder in any order.
      return name === "readdirSync" && loading !== null ? sorted(result as (string | Dirent)[]) : result;
    };
    Object.setPrototypeOf(trap, original);
    Object.defineProperty(holder, name, { value: trap, writable: true, configurable: true, enumerable: true });
  };
  for (const name of ["setTimeout", "setInterval", "setImmediate", "queueMicrotask", "fetch"]) {
    before(globalThis, name, `calls ${name}`);
  }
  for (const name of ["setTimeout", "setInterval", "setImmediate"]) before(timers, name, `calls ${name}`);
  before(process, "nextTick", "calls process.nextTick");
  before(AbortSignal, "timeout", "calls AbortSignal.timeout");
  before(WeakRef.prototype, "deref", "looks at the garbage collector (WeakRef)");
  for (const name of filesReaders) before(fs, name, `reads files (${name})`);
  for (const name of ["readFile", "readdir", "stat", "open"]) before(fs.promises, name, `reads files (${name})`);
  for (const name of ["exec", "execSync", "execFile", "execFileSync", "spawn", "spawnSync", "fork"]) {
    before(childProcess, name, `starts a process (${name})`);
  }
}

const filesReaders = [
  "readFileSync",
  "readdirSync",
  "statSync",
  "lstatSync",
  "existsSync",
  "openSync",
  "readFile",
  "readdir",
  "stat",
  "open",
  "createReadStream",
];

/** Is the caller of the trap a part of Node? */
function isCalledByNode(): boolean {
  // Error, this function, the trap, and its caller.
  const caller = (new Error().stack ?? "").split("\n")[3] ?? "";
  return /\(?node:[\w/]+:\d+:\d+\)?$/.test(caller);
}

const nameOf = (entry: string | Dirent): string => (typeof entry === "string" ? entry : entry.name);

const sorted = (entries: (string | Dirent)[]): (string | Dirent)[] =>
  entries.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
