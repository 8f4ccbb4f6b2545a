import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Draft, inScratch, makeFolder, streamAtomically, writeAtomically, writeFully } from "../../../src/base/disk.ts";
import { MachineError } from "../../../src/base/errors.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { needs } from "../../support/needs.ts";

test("a folder is made with those above it, and one that is there is left as it is", (t) => {
  const parent = temporaryFolder(t);
  const deep = join(parent, "a", "b", "c");
  makeFolder(deep);
  makeFolder(deep);
  assert.ok(statSync(deep).isDirectory());
});

test("a file in the way is said", (t) => {
  const parent = temporaryFolder(t);
  writeFileSync(join(parent, "file"), "");
  assert.throws(() => makeFolder(join(parent, "file")), { code: "EEXIST" });
  assert.throws(() => makeFolder(join(parent, "file", "below", "it")), { code: "ENOTDIR" });
});

test("where no folder can be made the system's answer comes at once", {
  skip: !existsSync("/proc/self") && needs.linux,
}, () => {
  // Node's mkdir with `recursive` never returns here.
  assert.throws(() => makeFolder("/proc/nothing"), { code: "ENOENT" });
  assert.throws(() => makeFolder("/proc/nothing/below/it"), { code: "ENOENT" });
});

test("a file that cannot be written is an error that names it", (t) => {
  const file = join(temporaryFolder(t), "file");
  writeFileSync(file, "");
  const path = join(file, "inside");
  const wanted = { name: "MachineError", message: `cannot write ${path}: a part of the path is a file, not a folder` };
  assert.throws(() => writeAtomically(path, () => assert.fail()), wanted);
});

test("the next writer of a file removes what a dead one has left of it, and leaves a living one's alone", (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, "weights.bin");
  const others = [
    `weights.bin.${hostname()}-${process.ppid}.tmp`,
    `weights.bin.elsewhere-${2 ** 30}.tmp`,
    `weights.json.${hostname()}-${2 ** 30}.tmp`,
  ];
  // No process has this number: it is above the largest that Linux gives out.
  const dead = `weights.bin.${hostname()}-${2 ** 30}`;
  const left = [`${dead}.tmp`, `${dead}-${randomUUID()}.tmp`];
  for (const name of [...others, ...left]) writeFileSync(join(folder, name), "half");
  writeAtomically(path, (file) => writeFully(file, Buffer.from("whole")));
  assert.equal(readFileSync(path, "utf8"), "whole");
  assert.deepEqual(readdirSync(folder).sort(), [...others, "weights.bin"].sort());
});

test("a path that the user names may be a link, which stays, or a pipe, which is written to", async (t) => {
  const folder = temporaryFolder(t);
  const [file, link, pipe] = ["file", "link", "pipe"].map((name) => join(folder, name)) as [string, string, string];
  writeFileSync(file, "before");
  symlinkSync(file, link);
  await streamAtomically(link, async (open) => writeFileSync(open, "after"));
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.equal(readFileSync(file, "utf8"), "after");
  rmSync(file);
  await streamAtomically(link, async (open) => writeFileSync(open, "anew"));
  assert.equal(readFileSync(file, "utf8"), "anew", "where nothing was yet");
  execFileSync("mkfifo", [pipe]);
  // Open for both, so that nobody waits for the other end.
  const end = openSync(pipe, "r+");
  t.after(() => closeSync(end));
  await streamAtomically(pipe, async (open) => writeFileSync(open, "through"));
  const read = Buffer.alloc(20);
  assert.equal(read.toString("utf8", 0, readSync(end, read)), "through");
  assert.deepEqual(readdirSync(folder).sort(), ["file", "link", "pipe"]);
});

/** Until the test is over. */
function temporaryFilesIn(context: TestContext, place: string): void {
  const before = process.env.TMPDIR;
  context.after(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  process.env.TMPDIR = place;
}

test("a place for temporary files that cannot be written is named, with what names it", async (context) => {
  const nowhere = join(temporaryFolder(context), "nowhere");
  temporaryFilesIn(context, nowhere);
  await assert.rejects(
    inScratch("test", () => assert.fail()),
    (error) =>
      error instanceof MachineError &&
      error.message.startsWith(`cannot make a folder in ${nowhere}, which TMPDIR names: `),
  );
});

test("scratch is gone when the work is done or fails, and a killed process's when the next begins", async (context) => {
  const place = temporaryFolder(context);
  temporaryFilesIn(context, place);
  const others = [`flame-${hostname()}-${process.ppid}-products-a`, `flame-elsewhere-${2 ** 30}-products-a`, "flame"];
  const dead = `flame-${hostname()}-${2 ** 30}-products-a`;
  for (const name of [...others, dead]) mkdirSync(join(place, name));
  const found = await inScratch("test", async (folder) => {
    writeFileSync(join(folder, "file"), "");
    return readdirSync(place).length;
  });
  assert.equal(found, others.length + 1);
  const failure = new Error("failed");
  await assert.rejects(
    inScratch("test", () => Promise.reject(failure)),
    failure,
  );
  assert.deepEqual(readdirSync(place).sort(), others.sort());
});

test("of a folder that was there only what is in it goes, of one behind a link, too, and what cannot go hides no error", (t) => {
  const folder = temporaryFolder(t);
  const [place, link, file] = ["place", "link", "file"].map((name) => join(folder, name)) as [string, string, string];
  mkdirSync(place);
  symlinkSync(place, link);
  writeFileSync(file, "");
  for (const path of [place, link]) {
    const draft = new Draft();
    draft.add(path, { isPlace: true });
    mkdirSync(join(path, "part"));
    writeFileSync(join(path, "part", "half"), "");
    draft.add(join(file, "not a folder"));
    draft.remove();
    assert.deepEqual(readdirSync(place), []);
  }
  assert.deepEqual(readdirSync(folder).sort(), ["file", "link", "place"]);
});
