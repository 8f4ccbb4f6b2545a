/**
 * Runs the tests and sums them up in the last line: `N passed, N failed`.
 *
 *   npm test                      type check, lint, and every test file but those that are called *.long.test.ts
 *   npm run test:all              the others
 *   npm run test:only -- <file>   one file, by Node's own runner
 *
 * There are few processes, and each takes the next file that nobody has taken, as a suite with hooks of its own: to start Node
 * and to load what they all import takes longer than most of them. A skip for a reason that `test/support/needs.ts` does
 * not know is a failure, and so is a file without a test.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
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
// Simulations and contracts are the longest: none of them shall be what all others wait for in the end.
const isShort = (name: string) => name.startsWith(join("test", "e2e"));
if (isLong) files.reverse().sort((a, b) => Number(isShort(a)) - Number(isShort(b)));

/** Runs wait for the disk at every checkpoint, a third of some tests' time; in memory, where there is room, they do not. */
const memory = "/dev/shm";
const roomNeeded = 4e9;
if (existsSync(memory)) {
  const { bavail, bsize } = statfsSync(memory);
  if (bavail * bsize > roomNeeded) process.env.TMPDIR = memory;
}

/** Where processes say which files they take, and `test/support/trained-run.ts` keeps what files have in common. */
const shared = mkdtempSync(join(tmpdir(), "flame-test-shared-"));
process.env.FLAME_TEST_SHARED = shared;

const urls = files.map((name) => [name, pathToFileURL(join(root, name)).href]);
/** A file is taken by whoever makes this one. */
const mark = (name: string) => join(shared, `${files.indexOf(name)}.taken`);
/** What each process runs. The test between two files makes the second wait for the last hook of the first. */
const taking = `
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
for (const [i, [name, url]] of ${JSON.stringify(urls)}.entries()) {
  try {
    writeFileSync(new URL(\`\${i}.taken\`, import.meta.url), "", { flag: "wx" });
  } catch (error) {
    if (error.code === "EEXIST") continue;
    throw error;
  }
  describe(name, { timeout: 20 * 60_000 }, () => import(url));
  await test("the next file", () => {});
}
`;
/** One more than there are cores: some tests wait, for processes and servers that they start. */
const processes = Array.from({ length: availableParallelism() + 1 }, (_, i) => join(shared, `${i}.test.mjs`));
for (const entry of processes) writeFileSync(entry, taking);

const reasons: ReadonlySet<string> = new Set(Object.values(needs));
const skipped = new Map<string, number>();
const failures: string[] = [];
const printed = new Map<string, string>();
const awaited = new Set(files);
/** Milliseconds that files took, and processes that ended badly, other than by a test that failed. */
const durations = new Map<string, number>();
const broken = new Set<string>();
let passed = 0;
/** Tests that were told of since a file ended. */
let told = 0;

const { seed, from } = firstSeed();
console.log(
  `${files.length} files in ${processes.length} processes; the seeds of the swarm begin at ${seed} (${from})`,
);

const tests = run({ files: processes, concurrency: processes.length, timeout: 60 * 60_000 });
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
  else if (processes.includes(test.name)) broken.add(test.name);
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
  if (broken.size > 0 || awaited.size > 0) {
    const begun = [...awaited].filter((name) => existsSync(mark(name)));
    const last = processes.map((entry) => printed.get(entry) ?? "").join("");
    const which = `during ${begun.join(", ") || "no file"}; ${awaited.size - begun.length} files were not begun`;
    failures.push(`✖ a process ended badly, ${which}\n${last}`);
  }
  rmSync(shared, { recursive: true });
  const slowest = [...durations].sort(([, a], [, b]) => b - a).slice(0, 10);
  for (const [name, duration] of slowest) console.log(`${(duration / 1000).toFixed(1).padStart(6)} s  ${name}`);
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
    durations.set(test.name, test.details.duration_ms);
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
