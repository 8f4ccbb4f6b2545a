/**
 * Runs the tests, each file in a process of its own, and sums them up in the last line: `N passed, N failed`.
 *
 *   npm test                      type check, lint, and every test file but those that are called *.long.test.ts
 *   npm run test:all              the others
 *   npm run test:only -- <file>   one file, by Node's own runner
 *
 * A skip for a reason that `test/support/needs.ts` does not know is a failure, and so is a file without a test.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { type EventData, run } from "node:test";
import { needs } from "../test/support/needs.ts";
import { firstSeed } from "../test/support/swarm/commit-seed.ts";

const root = join(import.meta.dirname, "..");
const isLong = process.argv[2] === "long";
const files = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts") && name.endsWith(".long.test.ts") === isLong)
  .map((name) => join(root, "test", name))
  .sort();

const reasons: ReadonlySet<string> = new Set(Object.values(needs));
const skipped = new Map<string, number>();
const failures: string[] = [];
const printed = new Map<string, string>();
let passed = 0;

/** Where `test/support/trained-run.ts` keeps what files have in common. */
const shared = mkdtempSync(join(tmpdir(), "flame-test-shared-"));
process.env.FLAME_TEST_SHARED = shared;

const { seed, from } = firstSeed();
console.log(`${files.length} files; the seeds of the swarm begin at ${seed} (${from})`);

// Node's own choice leaves one core free, which is half of two.
const tests = run({ files, concurrency: availableParallelism(), timeout: 10 * 60_000 });
tests.on("test:pass", (test) => {
  const reason = test.skip ?? test.todo;
  if (reason !== undefined) skip(test, String(reason));
  else if (isFile(test)) fail(test, "holds no test");
  else if (test.details.type !== "suite") passed++;
});
tests.on("test:fail", (test) => {
  const error = test.details.error as Error & { failureType?: string };
  // Told already, by the test inside.
  if (error.failureType === "subtestsFailed") return;
  const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : error.message;
  fail(test, isFile(test) ? `${cause}\n${printed.get(test.file ?? "") ?? ""}` : cause);
});
for (const stream of ["test:stdout", "test:stderr"] as const) {
  tests.on(stream, ({ file, message }: EventData.TestStdout) => {
    printed.set(file, (printed.get(file) ?? "") + message);
  });
}
let last = "";
for (const end of ["test:pass", "test:fail"] as const) {
  tests.on(end, ({ file = "" }: EventData.LocationInfo) => {
    if (file !== last) console.log(nameOf(file));
    last = file;
  });
}
tests.on("end", () => {
  rmSync(shared, { recursive: true });
  for (const [reason, count] of skipped) console.log(`${count} skipped: ${reason}`);
  for (const failure of failures) console.log(`\n${failure}`);
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length === 0 ? 0 : 1;
});
tests.resume();

function skip(test: EventData.TestPass, reason: string): void {
  if (reasons.has(reason)) skipped.set(reason, (skipped.get(reason) ?? 0) + 1);
  else fail(test, `was skipped for a reason that is not among those of test/support/needs.ts: ${reason}`);
}

function fail(test: EventData.TestPass | EventData.TestFail, why: string): void {
  const failure = `✖ ${nameOf(test.file ?? "")} ${isFile(test) ? "" : test.name}\n${why.replaceAll(/^/gm, "  ")}`;
  console.log(failure);
  failures.push(failure);
}

/** A file that ended without a test, or badly, is told as a test of its name. */
function isFile({ name, file }: EventData.TestPass | EventData.TestFail): boolean {
  return resolve(root, name) === file;
}

function nameOf(file: string): string {
  return relative(root, file);
}
