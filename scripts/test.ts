/**
 * Runs the tests and sums them up in the last line: `N passed, N failed`.
 *
 *   npm test                      type check, lint, and every test file but those that are called *.long.test.ts
 *   npm run test:all              the others
 *   npm run test:only -- <file>   one file, by Node's own runner
 *
 * Several files share a process, each as a suite with hooks of its own: to start Node and to load what they all import
 * takes longer than most of them. A skip for a reason that `test/support/needs.ts` does not know is a failure, and so is a
 * file without a test.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative } from "node:path";
import { type EventData, run } from "node:test";
import { pathToFileURL } from "node:url";
import { needs } from "../test/support/needs.ts";
import { firstSeed } from "../test/support/swarm/commit-seed.ts";

type Told = EventData.TestPass | EventData.TestFail;

const root = join(import.meta.dirname, "..");
const isLong = process.argv[2] === "long";
const files = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts") && name.endsWith(".long.test.ts") === isLong)
  .map((name) => join("test", name))
  .sort();
// Simulations are the longest: none of them shall be what all others wait for in the end.
if (isLong) files.reverse();

/** Long ones have a process each. */
const filesPerProcess = isLong ? 1 : 12;

/** Where `test/support/trained-run.ts` keeps what files have in common. */
const shared = mkdtempSync(join(tmpdir(), "flame-test-shared-"));
process.env.FLAME_TEST_SHARED = shared;

/** What Node is given to run → the files of tests that are in it. */
const processes = new Map(
  Array.from({ length: Math.ceil(files.length / filesPerProcess) }, (_, i) => {
    const group = files.slice(i * filesPerProcess, (i + 1) * filesPerProcess);
    const entry = join(shared, `${i}.test.mjs`);
    const imports = group.map((name) => {
      const url = pathToFileURL(join(root, name)).href;
      return `describe(${JSON.stringify(name)}, async () => { await import(${JSON.stringify(url)}); });\n`;
    });
    writeFileSync(entry, `import { describe } from "node:test";\n${imports.join("")}`);
    return [entry, group];
  }),
);

const reasons: ReadonlySet<string> = new Set(Object.values(needs));
const skipped = new Map<string, number>();
const failures: string[] = [];
const printed = new Map<string, string>();
const awaited = new Set(files);
/** Processes that ended badly, other than by a test that failed. */
const broken = new Set<string>();
let passed = 0;
/** Tests that were told of since a file ended. */
let told = 0;

const { seed, from } = firstSeed();
console.log(`${files.length} files in ${processes.size} processes; the seeds of the swarm begin at ${seed} (${from})`);

// Node's own choice leaves one core free, which is half of two.
const tests = run({ files: [...processes.keys()], concurrency: availableParallelism(), timeout: 10 * 60_000 });
tests.on("test:pass", (test) => {
  const reason = test.skip ?? test.todo;
  if (reason !== undefined) skip(test, String(reason));
  else if (test.nesting > 0 && test.details.type !== "suite") passed++;
  else if (awaited.has(test.name) && told === 0) fail(test, "holds no test");
  count(test);
});
tests.on("test:fail", (test) => {
  const error = test.details.error as Error & { failureType?: string };
  // Told already, by the test inside.
  if (error.failureType === "subtestsFailed") count(test);
  else if (processes.has(test.name)) broken.add(test.name);
  else {
    fail(test, error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : error.message);
    count(test);
  }
});
for (const stream of ["test:stdout", "test:stderr"] as const) {
  tests.on(stream, ({ file, message }: EventData.TestStdout) => {
    printed.set(file, (printed.get(file) ?? "") + message);
  });
}
tests.on("end", () => {
  rmSync(shared, { recursive: true });
  for (const [entry, group] of processes) {
    const lost = group.filter((name) => awaited.has(name));
    if (lost.length === 0 && !broken.has(entry)) continue;
    const which = lost.length === 0 ? group : lost;
    failures.push(`✖ ${which.join(", ")}\n  the process ended badly\n${printed.get(entry) ?? ""}`);
  }
  for (const [reason, count] of skipped) console.log(`${count} skipped: ${reason}`);
  for (const failure of failures) console.log(`\n${failure}`);
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length === 0 ? 0 : 1;
});
tests.resume();

/** What is told at the outermost level is a file. */
function count(test: Told): void {
  if (test.nesting > 0) told++;
  else if (awaited.delete(test.name)) {
    console.log(test.name);
    told = 0;
  }
}

function skip(test: EventData.TestPass, reason: string): void {
  if (reasons.has(reason)) skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
  else fail(test, `was skipped for a reason that is not among those of test/support/needs.ts: ${reason}`);
}

function fail(test: Told, why: string): void {
  const name = test.nesting > 0 ? `${relative(root, test.file ?? "")} ${test.name}` : test.name;
  const failure = `✖ ${name}\n${why.replaceAll(/^/gm, "  ")}`;
  console.log(failure);
  failures.push(failure);
}
