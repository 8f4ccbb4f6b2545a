import assert from "node:assert/strict";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MachineError } from "../../src/base/errors.ts";
import { makeFolder, writeAtomically } from "../../src/model/file-io.ts";
import { temporaryFolder } from "../support/model-folder.ts";

test("a folder is made with those it lies in, and one that is there is left alone", (t) => {
  const root = temporaryFolder(t);
  const path = join(root, "a", "b", "c");
  makeFolder(path);
  assert.ok(statSync(path).isDirectory());
  makeFolder(path);
  makeFolder("/");
});

test("a file in the way is an error that names it", (t) => {
  const file = join(temporaryFolder(t), "file");
  writeFileSync(file, "");
  for (const path of [file, join(file, "inside"), join(file, "deep", "inside")]) {
    assert.throws(() => makeFolder(path), { syscall: "mkdir" }, path);
    assert.throws(() => writeAtomically(join(path, "text"), () => assert.fail()), MachineError, path);
  }
});

test("where the system makes no folders, that is an error and not the end of the world", {
  skip: !existsSync("/proc/self") && "no /proc here",
}, () => {
  // With `recursive`, Node asks again for ever.
  assert.throws(() => makeFolder("/proc/flame"), { code: "ENOENT" });
  assert.throws(() => makeFolder("/proc/flame/deep/er"), { code: "ENOENT" });
});
