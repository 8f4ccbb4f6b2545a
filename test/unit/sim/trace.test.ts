import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { digestOfLines, Trace, type TraceRow } from "../../../src/sim/kernel/trace.ts";

const row = (i: number): TraceRow => ({ t: i * 10, type: "arrived", client: i % 7, bytes: 1_000 + i });

/** A trace of `rows` rows, its sink's writes, and the text they add up to. */
function traced(rows: number) {
  const writes: string[] = [];
  const trace = new Trace({ mode: "full", sink: { write: (text) => writes.push(text) } });
  for (let i = 0; i < rows; i++) trace.record(row(i));
  return { trace, writes, text: () => writes.join("") };
}

const linesOf = (text: string) => text.split("\n").slice(0, -1);

test("the digest is the chain its description says", () => {
  const { trace, text } = traced(600);
  trace.flush();
  const lines = linesOf(text()).map((line) => `${line}\n`);
  const sha = (chain: Buffer, part: string[]) => createHash("sha256").update(chain).update(part.join("")).digest();
  const first = sha(Buffer.alloc(32), lines.slice(0, 512));
  assert.equal(trace.digest(), sha(first, lines.slice(512)).toString("hex"));
});

test("each row is one line of JSON with its fields in order", () => {
  const { trace, text } = traced(0);
  trace.record({
    t: 5,
    type: "lost",
    reason: 'a "quoted"\nword',
    late: false,
    loss: NaN,
    phase: undefined,
    ids: [1, 2],
  });
  trace.flush();
  assert.equal(text(), '{"t":5,"type":"lost","reason":"a \\"quoted\\"\\nword","late":false,"loss":null,"ids":[1,2]}\n');
});

test("a trace that keeps no lines has the same digest, rows and bytes", () => {
  const { trace: full, text } = traced(1_300);
  const bare = new Trace({ mode: "digest" });
  for (let i = 0; i < 1_300; i++) bare.record(row(i));
  full.flush();
  assert.equal(bare.digest(), full.digest());
  assert.deepEqual([bare.rows, bare.bytes], [1_300, Buffer.byteLength(text())]);
});

test("the digest changes with any row, with their order, and with their number", () => {
  const digestOf = (rows: readonly TraceRow[]) => {
    const trace = new Trace({ mode: "digest" });
    for (const each of rows) trace.record(each);
    return trace.digest();
  };
  const rows = Array.from({ length: 1_024 }, (_, i) => row(i));
  const digests = [
    digestOf(rows),
    digestOf(rows.with(100, row(101))),
    digestOf(rows.with(0, row(1)).with(1, row(0))),
    digestOf(rows.slice(0, -1)),
    digestOf([...rows, row(0)]),
    digestOf([]),
  ];
  assert.equal(new Set(digests).size, digests.length);
});

test("asking for the digest, flushing and saving in the middle change nothing", () => {
  const { trace, text } = traced(0);
  for (let i = 0; i < 1_300; i++) {
    trace.record(row(i));
    if (i % 100 === 0) trace.digest();
    if (i % 130 === 0) trace.flush();
    if (i % 170 === 0) trace.snapshot();
  }
  trace.flush();
  const undisturbed = traced(1_300);
  undisturbed.trace.flush();
  assert.equal(trace.digest(), undisturbed.trace.digest());
  assert.equal(text(), undisturbed.text());
});

test("the sink gets whole lines in large pieces, and none twice", () => {
  const { trace, writes } = traced(1_100);
  assert.equal(writes.length, 2);
  trace.flush();
  trace.flush();
  assert.equal(writes.length, 3);
  for (const text of writes) assert.ok(text.endsWith("}\n"));
  assert.equal(linesOf(writes.join("")).length, 1_100);
});

for (const stop of [0, 1, 511, 512, 513, 1_024, 1_299]) {
  test(`a trace restored after ${stop} rows continues the same lines and the same digest`, () => {
    const straight = traced(1_300);
    straight.trace.flush();
    const before = traced(stop);
    const state = JSON.parse(JSON.stringify(before.trace.snapshot()));
    assert.equal(Buffer.byteLength(before.text()), state.bytes);
    const resumed = traced(0);
    resumed.trace.restore(state);
    for (let i = stop; i < 1_300; i++) resumed.trace.record(row(i));
    resumed.trace.flush();
    assert.equal(before.text() + resumed.text(), straight.text());
    assert.equal(resumed.trace.digest(), straight.trace.digest());
    assert.deepEqual(resumed.trace.snapshot(), straight.trace.snapshot());
  });
}

test("lines read back from a file give the digest of the trace, whatever characters they hold", async () => {
  const { trace, text } = traced(1_000);
  trace.record({ t: 1, type: "named", tier: "téléphone 📱 \u2028 \u2029 \ud800" });
  const { bytes } = trace.snapshot();
  assert.equal(bytes, Buffer.byteLength(text()));
  // Node's readline splits at these as well, so none may be left in a line.
  assert.doesNotMatch(text(), /[\u2028\u2029]/);
  const lines = linesOf(Buffer.from(text()).toString());
  assert.equal(await digestOfLines(lines), trace.digest());
  assert.equal(JSON.parse(lines.at(-1)!).tier, "téléphone 📱 \u2028 \u2029 \ud800");
  async function* streamed() {
    yield* lines;
  }
  assert.equal(await digestOfLines(streamed()), trace.digest());
  assert.notEqual(await digestOfLines(lines.slice(0, -1)), trace.digest());
});

test("a state that is not a trace's is refused with what was expected", () => {
  const { trace } = traced(3);
  const state = trace.snapshot();
  assert.throws(() => trace.restore({ ...state, chain: "zz" }), InputError);
  assert.throws(() => trace.restore({ ...state, rows: 4 }), /3 pending lines, expected .* 4 lines after 4 rows/);
});
