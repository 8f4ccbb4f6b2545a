/** Opening files that somebody else may have put there. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  linkSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import {
  digestOfFile,
  openNew,
  openToAppend,
  openToChange,
  openToRead,
  readBytes,
  streamOf,
} from "../../../src/base/open.ts";
import { linesOf, readText } from "../../../src/base/text.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { needs } from "../../support/needs.ts";

const posix = { skip: process.platform === "win32" && needs.permissions };
const openings = [
  ["read", (path: string) => openToRead(path)],
  ["change", openToChange],
  ["append", openToAppend],
  ["read piece by piece", streamOf],
] as const;

/** One that was opened by mistake would be waited for by the pipe's other end. */
function refuses(action: () => unknown, message: RegExp): void {
  assert.throws(action, (error: Error) => error instanceof InputError && message.test(error.message));
}

for (const [what, open] of openings) {
  test(`a pipe, a device and a folder are not opened to ${what}, and nobody is waited for`, posix, (t) => {
    const folder = temporaryFolder(t);
    const pipe = join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    refuses(() => open(pipe), /pipe: expected a file, got a pipe or a device/);
    refuses(() => open("/dev/zero"), /zero: expected a file, got a pipe or a device/);
    if (what === "read") refuses(() => open(folder), /expected a file, got a folder/);
    else assert.throws(() => open(folder));
  });
}

test("a link to a file is followed for a user and refused in a folder of a stranger's", posix, (t) => {
  const folder = temporaryFolder(t);
  const [target, link, dangling] = ["target", "link", "dangling"].map((name) => join(folder, name));
  writeFileSync(target!, "content");
  symlinkSync(target!, link!);
  symlinkSync(join(folder, "not-there"), dangling!);
  assert.equal(readText(link!, 100), "content");
  refuses(() => readText(link!, 100, "refused"), /link is a link/);
  refuses(() => [...linesOf(link!, "refused")], /link is a link/);
  refuses(() => openToChange(link!), /link is a link/);
  for (const path of [link!, dangling!]) refuses(() => openToAppend(path), /is a link/);
  assert.equal(existsSync(join(folder, "not-there")), false);
});

test("nothing is written to a file that has another name, and a new file takes the name alone", posix, (t) => {
  const folder = temporaryFolder(t);
  const [precious, second] = [join(folder, "precious"), join(folder, "second")];
  writeFileSync(precious, "content");
  linkSync(precious, second);
  refuses(() => openToChange(second), /second has 2 names \(hard links\)/);
  refuses(() => openToAppend(second), /second has 2 names \(hard links\)/);
  assert.equal(readText(second, 100, "refused"), "content", "reading does no harm");
  const file = openNew(second);
  writeSync(file, "other");
  closeSync(file);
  assert.deepEqual(
    [precious, second].map((path) => readFileSync(path, "utf8")),
    ["content", "other"],
  );
});

test("a file of any size is refused by its bound without being read", (t) => {
  const path = join(temporaryFolder(t), "large");
  writeFileSync(path, "x".repeat(100));
  assert.equal(readText(path, 100).length, 100);
  refuses(() => readText(path, 99), /large has 100 B, expected at most 99 B/);
  // The file system keeps no bytes for it.
  truncateSync(path, 2 ** 40);
  refuses(() => readBytes(path), /large has .*, expected at most/);
});

test("a file that says it is empty is read to its end, within the bound", {
  skip: !existsSync("/proc/self/maps"),
}, () => {
  const whole = readText("/proc/self/maps", 2 ** 24);
  assert.ok(whole.length > 4_096, "longer than a first guess");
  refuses(() => readText("/proc/self/maps", 100), /expected at most 100 B/);
});

test("the digest of a file is that of its bytes", (t) => {
  const path = join(temporaryFolder(t), "bytes");
  for (const length of [0, 1, 2 ** 20, 2 ** 20 + 1]) {
    const bytes = Buffer.alloc(length, 7);
    writeFileSync(path, bytes);
    assert.equal(digestOfFile(path), createHash("sha256").update(bytes).digest("hex"));
  }
});
