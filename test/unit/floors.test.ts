import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

/** A file imports from its own room and from rooms on lower floors. */
const floors: Readonly<Record<string, number>> = {
  /** Compiles the rest. */
  bin: 0,
  "src/base": 0,
  "src/sim": 1,
  "src/tensor": 1,
  "src/data": 1,
  "src/model": 2,
  "src/engine": 2,
  "src/runtime": 3,
  "src/tasks": 3,
  "src/fl": 4,
  "src/arena": 4,
  "src/pretraining": 4,
  "src/records": 4,
  actors: 5,
  "src/scenario": 5,
  "src/folder": 5,
  "src/run": 6,
  "src/study": 7,
  "src/testing": 7,
  "src/report": 8,
  "src/cli": 9,
  /** `src/index.ts`, what the package exports. */
  src: 9,
  scenarios: 10,
  bench: 11,
  test: 11,
  scripts: 12,
};

/** Where the machine is measured, or talked to a person about, and not the simulated world. */
const readsTheClock = [
  "src/run/run.ts",
  "src/run/diagnostics.ts",
  /** Names what it keeps scenarios from reading. */
  "src/run/guard.ts",
  /** Names of temporary files that nobody can guess. */
  "src/base/open.ts",
  /** Says how long a task took there. */
  "src/runtime/pools/nats-worker.ts",
  "src/runtime/pools/piscina-pool.ts",
  "src/study/",
  "src/cli/",
  "src/report/",
];

/** Rooms that read what somebody else may have put there. */
const readsStrangers = ["src/data", "src/model", "src/folder", "src/report", "src/scenario", "src/tasks", "src/tensor"];

/** Who opens files there beside `src/base/open.ts`, and why that is no file of a stranger's. */
const opensFiles: Readonly<Record<string, string>> = {
  "src/folder/lock.ts": "makes files nobody can have made before; /proc",
  "src/model/formats/prepare-weights.ts": "makes files nobody can have made before, in the user's cache",
  "src/tensor/executors/tensorflow.ts": "a folder that it has just made",
};
const opening = /\b(open|readFile|writeFile|appendFile|copyFile|cp|createReadStream|createWriteStream)(Sync)?\b/;

/** More files than this in a folder are more than one subject. */
const mostFiles = 20;

/** Files over 400 lines, each with the reason why it is not two. */
const longFiles: Readonly<Record<string, string>> = {};

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** Path from the root → text. */
type Sources = ReadonlyMap<string, string>;

function sourcesUnder(...folders: readonly string[]): Sources {
  const sources = new Map<string, string>();
  for (const folder of folders) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      if (entry.isFile() && entry.name.endsWith(".ts")) sources.set(relative(root, path), readFileSync(path, "utf8"));
    }
  }
  return sources;
}

const program = sourcesUnder("src", "actors", "scenarios", "bench");
const everything = sourcesUnder("src", "actors", "scenarios", "bench", "test", "scripts");

/** Comments become spaces of the same number of lines; they may speak of `Math.random` and show imports. */
const withoutComments = (text: string): string =>
  text
    .replace(/^[ \t]*\/\*[\s\S]*?\*\//gm, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|\s)\/\/.*$/gm, "$1");

/** The files of the project that a file imports, as types or dynamically too. */
function importsOf(path: string, text: string): string[] {
  const code = withoutComments(text);
  const found = [
    ...code.matchAll(/^(?:import|export)\s[^"'`;]*?\bfrom\s*"([^"]+)"/gm),
    ...code.matchAll(/^import\s*"([^"]+)"/gm),
    ...code.matchAll(/\bimport\(\s*"([^"]+)"/g),
  ];
  return found.flatMap(([, target]) => (target!.startsWith(".") ? [join(dirname(path), target!)] : []));
}

const roomOf = (path: string): string => {
  const [first, second, third] = path.split("/");
  return first === "src" && third !== undefined ? `src/${second}` : first!;
};

function floorMistakes(sources: Sources): string[] {
  const mistakes = [];
  for (const [path, text] of sources) {
    const room = roomOf(path);
    if (floors[room] === undefined) mistakes.push(`${path} lies in no known room`);
    for (const target of importsOf(path, text)) {
      const other = roomOf(target);
      if (other !== room && !(floors[other]! < floors[room]!)) {
        mistakes.push(`${path} (${room}, floor ${floors[room]}) imports ${target} (floor ${floors[other]})`);
      }
    }
  }
  return mistakes;
}

/** Folder → folders that its files import from. */
function foldersOf(sources: Sources): Map<string, Set<string>> {
  const folders = new Map<string, Set<string>>();
  for (const [path, text] of sources) {
    const targets = folders.get(dirname(path)) ?? new Set();
    for (const target of importsOf(path, text)) if (dirname(target) !== dirname(path)) targets.add(dirname(target));
    folders.set(dirname(path), targets);
  }
  return folders;
}

const filesOf = (sources: Sources): Map<string, string[]> =>
  new Map([...sources].map(([path, text]) => [path, importsOf(path, text)]));

/** The first cycle that a depth-first walk meets, as the places along it; null when there is none. */
function importCycle(targetsOf: ReadonlyMap<string, Iterable<string>>): string[] | null {
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): string[] | null => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path];
    if (done.has(path)) return null;
    trail.push(path);
    for (const target of targetsOf.get(path) ?? []) {
      const cycle = visit(target);
      if (cycle !== null) return cycle;
    }
    trail.pop();
    done.add(path);
    return null;
  };
  for (const path of targetsOf.keys()) {
    const cycle = visit(path);
    if (cycle !== null) return cycle;
  }
  return null;
}

function clockReaders(sources: Sources): string[] {
  const clock =
    /\bDate\.now\b|\bperformance\.now\b|\bhrtime\b|\bnew Date\(\s*\)|\bMath\.random\b|\brandomUUID\b|\brandomBytes\b/;
  return [...sources].flatMap(([path, text]) =>
    withoutComments(text)
      .split("\n")
      .flatMap((line, index) => {
        const [word] = clock.exec(line) ?? [];
        return word === undefined ? [] : [`${path}:${index + 1} reads ${word}`];
      }),
  );
}

const lineCount = (text: string): number => text.trimEnd().split("\n").length;

test("every import goes to the file's own room or to a lower floor", () => {
  assert.deepEqual(floorMistakes(everything), []);
});

test("no file imports itself by way of others, and no folder does", () => {
  assert.equal(importCycle(filesOf(program)), null);
  assert.equal(importCycle(foldersOf(program)), null);
});

test("a folder holds one subject: at most about twenty files", () => {
  const sizes = new Map<string, number>();
  for (const path of sourcesUnder("src", "actors").keys()) {
    sizes.set(dirname(path), (sizes.get(dirname(path)) ?? 0) + 1);
  }
  assert.deepEqual(
    [...sizes].filter(([, files]) => files > mostFiles),
    [],
  );
});

test("nothing that is simulated reads the wall clock or an unkeyed random number", () => {
  const simulated = [...sourcesUnder("src", "actors", "scenarios")].filter(
    ([path]) => !readsTheClock.some((allowed) => path.startsWith(allowed)),
  );
  assert.deepEqual(clockReaders(new Map(simulated)), []);
});

test("files that somebody else may have put there are opened in one place", () => {
  const found = [...sourcesUnder(...readsStrangers)]
    .filter(([, text]) =>
      [...text.matchAll(/import \{([^}]*)\} from "node:fs(?:\/promises)?"/g)].some(([, names]) => opening.test(names!)),
    )
    .map(([path]) => path);
  assert.deepEqual(found.sort(), Object.keys(opensFiles).sort());
});

test("scratch comes from one place, which removes it however the process ends", () => {
  const others = [...program].filter(
    ([path, text]) => /\bmkdtemp|\btmpdir\b/.test(text) && path !== "src/base/disk.ts",
  );
  assert.deepEqual(
    others.map(([path]) => path).filter((path) => path.startsWith("src/")),
    [],
  );
});

test("a file is at most 400 lines long, unless there is a reason", () => {
  const long = [...everything].filter(([, text]) => lineCount(text) > 400).map(([path]) => path);
  assert.deepEqual(long.toSorted(), Object.keys(longFiles).toSorted());
});

test("the checks above see an upward import, a neighbour, a cycle and a clock", () => {
  const made = new Map([
    ["src/base/a.ts", 'import type {\n  B,\n} from "../sim/b.ts";\n'],
    ["src/sim/b.ts", '// import "../cli/main.ts"\nconst { a } = await import("../base/a.ts");\n'],
    ["src/data/c.ts", 'export * from "../sim/b.ts";\n/** Not Math.random. */\nconst t = Date.now();\n'],
    ["src/cellar/d.ts", 'import "node:fs";\n'],
  ]);
  assert.deepEqual(floorMistakes(made), [
    "src/base/a.ts (src/base, floor 0) imports src/sim/b.ts (floor 1)",
    "src/data/c.ts (src/data, floor 1) imports src/sim/b.ts (floor 1)",
    "src/cellar/d.ts lies in no known room",
  ]);
  assert.deepEqual(importCycle(filesOf(made)), ["src/base/a.ts", "src/sim/b.ts", "src/base/a.ts"]);
  assert.deepEqual(importCycle(foldersOf(made)), ["src/base", "src/sim", "src/base"]);
  assert.deepEqual(clockReaders(made), ["src/data/c.ts:3 reads Date.now"]);
});
