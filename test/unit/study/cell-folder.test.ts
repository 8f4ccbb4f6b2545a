import assert from "node:assert/strict";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as z from "zod";
import { InputError, MachineError } from "../../../src/base/errors.ts";
import { CellFolder } from "../../../src/study/cell-folder.ts";
import { temporaryFolder } from "../../support/folders.ts";

const cell = z.object({ loss: z.number() });

function filled(path: string): string {
  const folder = new CellFolder(path, cell);
  folder.add("a", { loss: 1 });
  folder.add("b", { loss: 2 });
  folder.close();
  return join(path, "cells.jsonl");
}

test("finished cells are found again", (t) => {
  const path = temporaryFolder(t);
  filled(path);
  const folder = new CellFolder(path, cell);
  assert.deepEqual([folder.get("a"), folder.get("b"), folder.get("c")], [{ loss: 1 }, { loss: 2 }, undefined]);
  folder.close();
});

test("a line that a kill cut off is dropped, wherever it was cut, and the next one stands on a line of its own", (t) => {
  const path = temporaryFolder(t);
  const name = filled(path);
  const whole = readFileSync(name, "utf8");
  const line = JSON.stringify({ key: "c", cell: { loss: 3 } });
  for (let cut = 1; cut <= line.length; cut++) {
    writeFileSync(name, whole + line.slice(0, cut));
    const folder = new CellFolder(path, cell);
    assert.equal(folder.get("c"), undefined, `cut after ${cut}`);
    assert.deepEqual(folder.get("b"), { loss: 2 });
    folder.add("d", { loss: 4 });
    folder.close();
    const lines = readFileSync(name, "utf8").trimEnd().split("\n");
    assert.deepEqual(
      lines.map((text) => (JSON.parse(text) as { key: string }).key),
      ["a", "b", "d"],
    );
  }
});

test("a damaged line before the last is named", (t) => {
  const path = temporaryFolder(t);
  const name = filled(path);
  appendFileSync(name, "not json\n");
  assert.throws(
    () => new CellFolder(path, cell),
    (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, /cells\.jsonl line 3 is not JSON/);
      return true;
    },
  );
  // The lock was let go.
  writeFileSync(name, "");
  new CellFolder(path, cell).close();
});

test("a line that holds something else than a cell is named", (t) => {
  const path = temporaryFolder(t);
  appendFileSync(filled(path), '{"key":"c","cell":{}}\n');
  assert.throws(() => new CellFolder(path, cell), /cells\.jsonl line 3: .*expected a number/s);
});

test("two tests do not write into one folder", (t) => {
  const path = temporaryFolder(t);
  const folder = new CellFolder(path, cell);
  assert.throws(() => new CellFolder(path, cell), MachineError);
  folder.close();
  new CellFolder(path, cell).close();
});
