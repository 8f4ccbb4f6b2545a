/**
 * A run folder from elsewhere: whatever lies in it, no command writes outside of it, waits for ever or fills the memory, and
 * what is wrong is said in one line.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { run } from "../../src/run/run.ts";
import { runFlame, type Said } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { stormy } from "../support/weather.ts";

let folder = "";
let whole = "";
let half = "";
const cleanUps: (() => void)[] = [];
const posix = { skip: process.platform === "win32" };

before(async () => {
  folder = temporaryFolder({ after: (action) => void cleanUps.push(action as () => void) });
  [whole, half] = [join(folder, "whole"), join(folder, "half")];
  const scenario = stormy(1, { checkpoints: { every: 1 } });
  const { diagnostics } = await run(scenario, { out: whole });
  await run(scenario, { out: half, signal: interruptAfter(Math.floor(0.8 * diagnostics.events!)) });
});
after(() => {
  for (const cleanUp of cleanUps) cleanUp();
});

let copies = 0;
function copyOf(original: string): string {
  const copy = join(folder, `copy-${copies++}`, "run");
  cpSync(original, copy, { recursive: true });
  writeFileSync(join(copy, "..", "victim"), "precious");
  mkdirSync(join(copy, "..", "victims"));
  writeFileSync(join(copy, "..", "victims", "victim"), "precious");
  return copy;
}

/** Nothing beside the run folder has changed, and a failure is one line. */
function assertHarmless(out: string, said: Said, what: string): void {
  const outside = join(out, "..");
  assert.deepEqual(
    readdirSync(outside)
      .filter((name) => !name.startsWith("run"))
      .sort(),
    ["victim", "victims"],
    what,
  );
  assert.deepEqual(readdirSync(join(outside, "victims")), ["victim"], what);
  for (const name of ["victim", "victims/victim"]) {
    assert.equal(readFileSync(join(outside, name), "utf8"), "precious", `${what}: ${name}`);
  }
  assert.doesNotMatch(said.err, /^ +at /m, `${what}: a stack`);
  assert.ok(said.err.trimEnd().split("\n").length <= 1, `${what}: ${said.err}`);
}

const newest = (out: string) => join("checkpoints", readdirSync(join(out, "checkpoints")).sort().at(-1)!);
const places: [string, (out: string) => string][] = [
  ...["scenario.json", "run.json", "result.json", "metrics.jsonl", "events.jsonl", "participations.jsonl"],
  ...["timeline.json", "report.html", "diagnostics.log", "lock", "run.json.tmp", `lock-${process.pid}.tmp`],
  ...["adapter", "checkpoints", "checkpoints/any.ckpt", "checkpoints/any.ckpt.tmp", "anything"],
].map((name): [string, (out: string) => string] => [name, () => name]);
places.push(["the newest checkpoint", newest]);

function plant(out: string, place: (out: string) => string, make: (path: string) => void): void {
  const path = join(out, place(out));
  rmSync(path, { recursive: true, force: true });
  make(path);
}

const commands = [
  ["resume", (out: string) => runFlame("resume", out), () => half],
  ["verify", (out: string) => runFlame("verify", out), () => whole],
  ["verify --rerun", (out: string) => runFlame("verify", out, "--rerun"), () => whole],
  ["diff", (out: string) => runFlame("diff", out, whole), () => whole],
  ["timeline", (out: string) => runFlame("timeline", out), () => whole],
] as const;

const odd: readonly [string, (path: string) => void][] = [
  ["a link to a file outside", (path) => symlinkSync(join(path, "..", "..", "victim"), path)],
  ["a link to a folder outside", (path) => symlinkSync("../victims", path)],
  ["a link to nothing", (path) => symlinkSync("../made-by-the-run", path)],
  ["a link to a device", (path) => symlinkSync("/dev/zero", path)],
  ["a pipe", (path) => void execFileSync("mkfifo", [path])],
];
for (const [kind, make] of odd) {
  test(`${kind} in the place of any file is refused by every command`, posix, async () => {
    for (const [place, pathIn] of places) {
      for (const [name, command, original] of commands) {
        const out = copyOf(original());
        plant(out, pathIn, make);
        const said = await command(out);
        assertHarmless(out, said, `${name}, ${place} is ${kind}`);
        assert.equal(said.code, 2, `${name}, ${place} is ${kind}: ${said.out}`);
        assert.match(
          said.err,
          /is a link; a run reads and writes only inside its own folder|expected a file, got a pipe/,
        );
      }
    }
  });
}

test("a second name of a file outside is never written under", posix, async () => {
  for (const [place, pathIn] of places) {
    if (["adapter", "checkpoints"].includes(place)) continue;
    const out = copyOf(half);
    plant(out, pathIn, (path) => linkSync(join(out, "..", "victim"), path));
    const said = await runFlame("resume", out);
    assertHarmless(out, said, place);
  }
  // Even one that is what it should be: the bytes that are missing go to nobody else's file.
  const out = copyOf(half);
  const events = join(out, "events.jsonl");
  linkSync(events, join(out, "..", "run-backup"));
  const before = readFileSync(events, "utf8");
  const said = await runFlame("resume", out);
  assert.equal(said.code, 2, said.out);
  assert.match(said.err, /events\.jsonl has 2 names \(hard links\).*copy the run folder and use the copy/);
  assert.equal(readFileSync(join(out, "..", "run-backup"), "utf8"), before);
});

test("a run folder that is itself a link is refused with where it leads", posix, async () => {
  const out = copyOf(half);
  const link = join(out, "..", "run-link");
  symlinkSync("run", link);
  for (const path of [link, `${link}/`]) {
    for (const words of [
      ["resume", path],
      ["verify", path],
      ["run", join(half, "scenario.json"), "--out", path],
    ]) {
      const said = await runFlame(...words);
      assert.equal(said.code, 2, said.out);
      assert.match(said.err, /run-link is a link; expected the run folder it leads to/);
    }
  }
});

test("files of three gigabytes are refused, or read without being held", async () => {
  // The seal is over scenario.json, whose digest takes a while.
  const sizes = {
    "run.json": 3 * 2 ** 30,
    "result.json": 3 * 2 ** 30,
    "scenario.json": 2 ** 29 + 1,
    lock: 3 * 2 ** 30,
  };
  for (const [place, size] of Object.entries(sizes)) {
    const out = copyOf(whole);
    writeFileSync(join(out, place), "", { flag: "a" });
    truncateSync(join(out, place), size);
    const before = process.memoryUsage().rss;
    const said = await runFlame("verify", out);
    assertHarmless(out, said, place);
    assert.equal(said.code === 0, place === "lock", `${place}: ${said.out}`);
    assert.ok(process.memoryUsage().rss - before < 2 ** 30, `${place}: memory`);
  }
  const out = copyOf(half);
  truncateSync(join(out, newest(out)), 3 * 2 ** 30);
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.match(said.out, /\.ckpt has .*, expected at most .*; the one before it is tried/);
  assertSameRun(out, whole, "from the checkpoint before");
});

test("folders in the place of files end in one line", async () => {
  for (const [place, pathIn] of places) {
    if (["adapter", "checkpoints", "anything"].includes(place)) continue;
    const out = copyOf(half);
    plant(out, pathIn, (path) => mkdirSync(path));
    const said = await runFlame("resume", out);
    assertHarmless(out, said, `${place} is a folder`);
  }
});
