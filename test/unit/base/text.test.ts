import assert from "node:assert/strict";
import { existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { InputError, MachineError } from "../../../src/base/errors.ts";
import { fieldDifferences } from "../../../src/base/field-differences.ts";
import { linesOf, readText } from "../../../src/base/text.ts";
import { LineFile } from "../../../src/folder/line-file.ts";
import { openDiagnostics } from "../../../src/run/diagnostics.ts";
import { stoppedInTime } from "../../../src/run/stop.ts";
import { partingOf } from "../../../src/study/diff.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { needs } from "../../support/needs.ts";

test("the lines of a file are its text, cut at its line feeds", (t) => {
  const path = join(temporaryFolder(t), "lines");
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "grapheme" })), (lines) => {
      const text = lines.map((line) => line.replaceAll("\n", " ")).join("\n");
      writeFileSync(path, text);
      const wanted = text.split("\n");
      if (wanted.at(-1) === "") wanted.pop();
      assert.deepEqual([...linesOf(path)], wanted);
    }),
    { numRuns: 200 },
  );
});

test("a line may be longer than what is read at once, and break off within a character", (t) => {
  const path = join(temporaryFolder(t), "lines");
  const long = "ü".repeat(900_001);
  writeFileSync(path, `${long}\nshort\n${long}`);
  assert.deepEqual([...linesOf(path)], [long, "short", long]);
});

test("a text that is too large is refused before it is read", (t) => {
  const path = join(temporaryFolder(t), "text");
  writeFileSync(path, "12345");
  assert.equal(readText(path, 5), "12345");
  assert.throws(() => readText(path, 4), InputError);
  assert.throws(() => readText(path, 4), /has 5 B, expected at most 4 B/);
  assert.throws(() => readText(`${path}.gone`, 4), MachineError);
});

test("two files part at their first line that differs, and the lines before it are the same", (t) => {
  const folder = temporaryFolder(t);
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const a = file("a", "1\n2\n3\n4\n5\n6\n");
  assert.equal(partingOf(a, a), null);
  assert.deepEqual(partingOf(a, file("b", "1\n2\n3\n4\nfive\n6\n")), {
    line: 5,
    before: ["2", "3", "4"],
    a: "5",
    b: "five",
  });
  assert.deepEqual(partingOf(a, file("c", "1\n")), { line: 2, before: ["1"], a: "2", b: null });
  assert.equal(partingOf(join(folder, "no"), join(folder, "none")), null);
});

test("fields that differ are named by their path", () => {
  const a = { seed: 1, fleet: [{ name: "phone" }, { name: "edge" }], only: true };
  const b = { seed: 2, fleet: [{ name: "phone" }, { name: "server" }, {}] };
  assert.deepEqual(
    fieldDifferences(a, b).map(({ path }) => path),
    ["seed", "fleet[1].name", "fleet[2]", "only"],
  );
  assert.deepEqual(fieldDifferences(a, a), []);
});

test("a file of lines that is closed writes nothing more, not even into a file that has its number now", (t) => {
  const folder = temporaryFolder(t);
  const lines = new LineFile(join(folder, "lines"));
  lines.write("first\n");
  lines.close();
  // The system gives out the lowest free number: that of the file that was closed.
  openSync(join(folder, "precious"), "w");
  lines.write(`${"x".repeat(1 << 17)}\n`);
  lines.close();
  assert.equal(readFileSync(join(folder, "precious"), "utf8"), "");
  assert.equal(readFileSync(join(folder, "lines"), "utf8"), "first\n");
});

test("an interrupted run waits for the present event, but not for ever", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  assert.equal(await stoppedInTime(undefined, async () => {}), true, "nobody interrupts");
  const abort = new AbortController();
  const patient = stoppedInTime(abort.signal, () => new Promise<void>((resolve) => setTimeout(resolve, 5_000)));
  abort.abort();
  t.mock.timers.tick(5_000);
  assert.equal(await patient, true, "it ended in time");
  const hopeless = stoppedInTime(abort.signal, () => new Promise<void>(() => {}));
  t.mock.timers.tick(20_000);
  assert.equal(await hopeless, false);
  await assert.rejects(
    stoppedInTime(abort.signal, () => Promise.reject(new Error("a bug"))),
    /a bug/,
  );
});

test("diagnostics that cannot be written are lost, and nothing else is", {
  skip: !existsSync("/dev/full") && needs.linux,
}, () => {
  const diagnostics = openDiagnostics("/dev/full");
  for (let line = 0; line < 200; line++) diagnostics.note("round", "said on a disk that is full");
  diagnostics.count("rounds", 200);
  diagnostics.close();
  assert.deepEqual(diagnostics.totals(), { rounds: 200 });
});
