import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { writeAtomically } from "../../../src/base/disk.ts";
import { InputError, MachineError, ScenarioError } from "../../../src/base/errors.ts";
import { emptyFile, flawOfFile, LineFile, readLines } from "../../../src/folder/line-file.ts";
import { acquireLock, awaitLock } from "../../../src/folder/lock.ts";
import { differences, remarkOn } from "../../../src/folder/provenance.ts";
import { createRunFolder, openRunFolder } from "../../../src/folder/run-folder.ts";
import {
  type Checkpoint,
  decodeCheckpoint,
  encodeCheckpoint,
  newestCheckpoint,
  setAside,
  writeCheckpoint,
} from "../../../src/folder/saved-state.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { provenance } from "../../support/provenance.ts";

const made = provenance;
const checkpoint = (round: number): Checkpoint => ({
  made,
  round,
  events: round * 10,
  files: { metrics: { ...emptyFile, bytes: 1 }, events: emptyFile, participations: emptyFile },
  parts: { adapter: Float32Array.of(1.5, -0, Number.NaN), list: [1, null, "two", { three: true }] },
});

test("a checkpoint comes back as it was", () => {
  assert.deepEqual(decodeCheckpoint(encodeCheckpoint(checkpoint(4)), "x"), checkpoint(4));
});

test("any flipped bit and any cut is noticed, and nothing but an InputError comes out", () => {
  const bytes = encodeCheckpoint(checkpoint(1));
  fc.assert(
    fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => decodeCheckpoint(damaged, "x"), InputError);
    }),
    { numRuns: 300 },
  );
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeCheckpoint(bytes.subarray(0, length), "x"), InputError);
  }
});

test("a checkpoint of another format is refused by its number", () => {
  const bytes = Buffer.from(encodeCheckpoint(checkpoint(1)));
  bytes.writeUInt32LE(99, 8);
  assert.throws(() => decodeCheckpoint(bytes, "x"), /checkpoint x has format 99; this program reads 7/);
});

test("the last few are kept, and the newest good one is found", (t) => {
  const folder = temporaryFolder(t);
  for (let round = 1; round <= 6; round++) writeCheckpoint(folder, checkpoint(round), 3);
  const names = readdirSync(folder).sort();
  assert.equal(names.length, 3);
  assert.equal(newestCheckpoint(folder, assert.fail)!.round, 6);
  writeFileSync(join(folder, names[2]!), "FLAMECKP");
  const damage: string[] = [];
  assert.equal(newestCheckpoint(folder, (text) => damage.push(text))!.round, 5);
  assert.match(damage[0]!, new RegExp(`${names[2]} is cut off`));
});

test("a checkpoint set aside is never the newest again", (t) => {
  const folder = temporaryFolder(t);
  for (const round of [1, 2]) writeCheckpoint(folder, checkpoint(round), 3);
  const [, newest] = readdirSync(folder).sort();
  setAside(folder, newest!);
  assert.equal(newestCheckpoint(folder, assert.fail)!.round, 1);
  // An older state, which may have handled fewer events, comes after it all the same.
  writeCheckpoint(folder, { ...checkpoint(1), events: 11 }, 3);
  assert.equal(newestCheckpoint(folder, assert.fail)!.events, 11);
});

test("a checkpoint that is whole and cannot be used is passed over with the reason", (t) => {
  const folder = temporaryFolder(t);
  for (const round of [1, 2]) writeCheckpoint(folder, checkpoint(round), 3);
  const damage: string[] = [];
  const found = newestCheckpoint(
    folder,
    (text) => damage.push(text),
    ({ round }) => (round === 2 ? "events.jsonl is too short" : null),
  );
  assert.equal(found!.round, 1);
  assert.match(damage.join(), /000002-000000000020.ckpt cannot be used: events.jsonl is too short/);
});

test("a half-written file under its temporary name is nobody's checkpoint", (t) => {
  const folder = temporaryFolder(t);
  writeCheckpoint(folder, checkpoint(1), 3);
  writeFileSync(join(folder, `000002-000000000020.ckpt.${hostname()}-${2 ** 30}.tmp`), "half");
  assert.equal(newestCheckpoint(folder, assert.fail)!.round, 1);
});

test("each difference between what made a run and what would continue it is said", () => {
  assert.deepEqual(differences(made, made), []);
  const recorded = { scenario: "x", source: "z", traces: "t", data: "d", tokenizer: null, template: "l", model: "y" };
  const other = { program: "2", code: "456", ...recorded, engine: null, merge: null, machine: null };
  assert.equal(differences(made, other).length, 9);
  assert.deepEqual(differences(made, { ...made, data: "5e5e" }, { data: "rows.jsonl" }), [
    "its data file rows.jsonl has changed since: expected a1a1…, found 5e5e…",
  ]);
  const merged = differences(made, { ...made, merge: "8 clients a call" });
  assert.deepEqual(merged, ["it trained with 1 client a call, this run would with 8 clients a call"]);
  assert.match(differences(made, { ...made, code: "456" }).join(), /with other code or other libraries/);
});

test("another processor does not forbid to continue a run, and is remarked on", () => {
  assert.equal(remarkOn(made, made), null);
  const other = { ...made, machine: "arm64, another kind" };
  assert.deepEqual(differences(made, other), []);
  assert.match(remarkOn(made, other)!, /it trained on x64, one kind, this is arm64, another kind/);
});

test("bytes with a right digest that are not a checkpoint are refused", () => {
  for (const parts of [null, 7, {}, { ...checkpoint(1), round: -1 }, { ...checkpoint(1), extra: true }]) {
    const bytes = encodeCheckpoint(parts as unknown as Checkpoint);
    assert.throws(() => decodeCheckpoint(bytes, "x"), /checkpoint x is not what this program writes/);
  }
});

test("a file of lines is cut at the checkpoint's offset and goes on from there", (t) => {
  const path = join(temporaryFolder(t), "lines.jsonl");
  const first = new LineFile(path);
  first.write('{"a":1}\n');
  const mark = first.sync();
  first.write('{"a":2}\n{"a":3}\n');
  first.close();
  const second = new LineFile(path, mark);
  second.write('{"a":"ü"}\n');
  second.close();
  assert.deepEqual(readLines(path), [{ a: 1 }, { a: "ü" }]);
  assert.deepEqual(mark, { bytes: 8, digest: createHash("sha256").update('{"a":1}\n').digest("hex") });
});

test("a file of lines that is shorter than it was, or another, is found out", (t) => {
  const path = join(temporaryFolder(t), "lines.jsonl");
  const file = new LineFile(path);
  file.write('{"a":1}\n');
  const early = file.sync();
  file.write('{"a":2}\n');
  const late = file.sync();
  file.close();
  assert.deepEqual([flawOfFile(path, early), flawOfFile(path, late)], [null, null]);
  writeFileSync(path, '{"a":1}\n{"a":3}\n');
  assert.equal(flawOfFile(path, early), null);
  assert.match(flawOfFile(path, late)!, /the first 16 bytes of .* have changed/);
  writeFileSync(path, '{"a":1}\n{"a"');
  assert.match(flawOfFile(path, late)!, /has 12 bytes, expected at least 16/);
  rmSync(path);
  assert.match(flawOfFile(path, late)!, /is missing/);
  assert.equal(flawOfFile(path, emptyFile), null);
});

test("a line that is not JSON is named with its number", (t) => {
  const path = join(temporaryFolder(t), "lines.jsonl");
  writeFileSync(path, '{"a":1}\n{"a":\n');
  assert.throws(() => readLines(path), /line 2 is not JSON/);
});

test("a folder that holds a run already is left alone", (t) => {
  const path = join(temporaryFolder(t), "run");
  const folder = createRunFolder(path);
  writeFileSync(folder.scenario, "{}");
  assert.throws(() => createRunFolder(path), ScenarioError);
});

test("a folder whose run never began says how to begin it", (t) => {
  const path = join(temporaryFolder(t), "run");
  createRunFolder(path);
  assert.throws(() => openRunFolder(path), /is not a run folder: .* is begun again with flame run … --out .*run$/);
  assert.throws(() => openRunFolder(join(path, "checkpoints")), /it has no scenario\.json$/);
});

test("a folder with a link in it is refused, so that a run never writes outside", (t) => {
  const parent = temporaryFolder(t);
  const folder = createRunFolder(join(parent, "run"));
  writeFileSync(folder.scenario, "{}");
  writeFileSync(join(parent, "precious"), "untouched");
  symlinkSync(join(parent, "precious"), folder.events);
  assert.throws(
    () => openRunFolder(folder.path),
    /events.jsonl is a link; a run reads and writes only inside its own folder/,
  );
  // A temporary file is never written through a link, either.
  symlinkSync(join(parent, "precious"), `${folder.result}.${hostname()}-${process.pid}.tmp`);
  writeAtomically(folder.result, "{}");
  assert.equal(readFileSync(join(parent, "precious"), "utf8"), "untouched");
});

test("a folder that cannot be written is a failure of the machine, with a way out", (t) => {
  const parent = temporaryFolder(t);
  writeFileSync(join(parent, "file"), "");
  assert.throws(() => createRunFolder(join(parent, "file", "run")), MachineError);
  mkdirSync(join(parent, "locked"));
  chmodSync(join(parent, "locked"), 0o500);
  // Root may write anywhere: for as long as it takes it is nobody.
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid!(65_534);
  try {
    assert.throws(() => createRunFolder(join(parent, "locked", "run")), /permission denied; choose another folder/);
  } finally {
    if (isRoot) process.seteuid!(0);
  }
});

test("a lock keeps others out while its owner lives, and is taken over when the owner is gone", (t) => {
  const path = join(temporaryFolder(t), "lock");
  const lock = acquireLock(path);
  assert.throws(() => acquireLock(path), /is being written by process/);
  lock.release();
  assert.equal(existsSync(path), false);
  // No process has this number: it is above the largest that Linux gives out.
  const owner = JSON.parse(ownerOf(path)) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...owner, process: 2 ** 30 }));
  acquireLock(path).release();
  // The number is in use again, by a process that started at another time.
  writeFileSync(path, JSON.stringify({ ...owner, started: "1" }));
  if (owner.started !== null) acquireLock(path).release();
});

test("what processes left behind that died while they took the lock is removed, and nothing else", (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, "lock");
  const ours = [`lock-${process.ppid}.tmp`, "scenario.json.tmp", "lock-notes.tmp"];
  const gone = `lock-${2 ** 30}-01234567-89ab-cdef-0123-456789abcdef`;
  for (const name of [...ours, `${gone}.tmp`, `${gone}.stale`]) writeFileSync(join(folder, name), "");
  acquireLock(path).release();
  assert.deepEqual(readdirSync(folder).sort(), ours.sort());
});

test("an owner that lost its lock finds out before it writes", (t) => {
  const path = join(temporaryFolder(t), "lock");
  const lock = acquireLock(path);
  lock.check();
  writeFileSync(path, JSON.stringify({ process: 1, started: "1", machine: "another" }));
  assert.throws(() => lock.check(), /was taken away by process 1 on another/);
  lock.release();
  assert.equal(existsSync(path), true, "what is another's is left alone");
});

test("an owner on another machine cannot be asked, and keeps others out while its lock is touched", async (t) => {
  const path = join(temporaryFolder(t), "lock");
  const there = acquireLock(path, "there");
  assert.throws(() => acquireLock(path, "here"), /is being written by process \d+ on there/);
  const notes: string[] = [];
  await assert.rejects(
    awaitLock(path, (text) => notes.push(text), "here"),
    /is being written by process \d+ on there/,
  );
  assert.match(notes.join(), /waiting 20 s to see whether process \d+ on there still writes here/);
  there.release();
});

function ownerOf(path: string): string {
  const lock = acquireLock(path);
  const text = readFileSync(path, "utf8");
  lock.release();
  return text;
}
