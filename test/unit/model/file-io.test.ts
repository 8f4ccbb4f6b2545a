import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { MachineError } from "../../../src/base/errors.ts";
import { writeAtomically, writeFully } from "../../../src/model/formats/file-io.ts";
import { temporaryFolder } from "../../support/folders.ts";

test("a file in the way is an error that names it", (t) => {
  const file = join(temporaryFolder(t), "file");
  writeFileSync(file, "");
  for (const path of [file, join(file, "inside"), join(file, "deep", "inside")]) {
    assert.throws(() => writeAtomically(join(path, "text"), () => assert.fail()), MachineError, path);
  }
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
  for (const name of [...others, `weights.bin.${hostname()}-${2 ** 30}.tmp`]) writeFileSync(join(folder, name), "half");
  writeAtomically(path, (file) => writeFully(file, Buffer.from("whole"), 0));
  assert.equal(readFileSync(path, "utf8"), "whole");
  assert.deepEqual(readdirSync(folder).sort(), [...others, "weights.bin"].sort());
});
