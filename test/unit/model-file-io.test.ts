import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { writeAtomically, writeFully } from "../../src/model/file-io.ts";
import { temporaryFolder } from "../support/run-folders.ts";

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
