import assert from "node:assert/strict";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeFolder } from "../../../src/base/disk.ts";
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
