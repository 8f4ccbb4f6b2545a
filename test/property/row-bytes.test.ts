import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RowBytes, RowShape, type TraceRow } from "../../src/sim/kernel/row-bytes.ts";

const value = fc.oneof(
  fc.integer(),
  fc.nat(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom("client/c-017", 'say "no"', "back\\slash", "line\nfeed", "\u2028", "\u2029", "é", "🦊", ""),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.array(fc.oneof(fc.nat(), fc.string())),
);
const row = fc
  .tuple(fc.nat(), fc.string(), fc.dictionary(fc.string({ unit: "grapheme" }), value))
  .map(([t, type, fields]): TraceRow => ({ ...fields, t, type }) as TraceRow);

test("a row's bytes are those of JSON.stringify, with the two other line ends of Unicode escaped", () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 20 }), (rows) => {
      const bytes = new RowBytes();
      for (const each of rows) bytes.add(each);
      const expected = rows.map((each) => `${JSON.stringify(each)}\n`).join("");
      assert.equal(bytes.bytes().toString(), expected.replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029"));
    }),
    { numRuns: 500, seed: 5 },
  );
});

test("every whole number is written as JavaScript writes it", () => {
  const bytes = new RowBytes();
  const numbers = [0, 9, 10, 99, 100, 101, 999, 1_000, 65_535, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -0];
  for (let power = 1; power < 2 ** 32; power *= 10) numbers.push(power - 1, power, power + 1);
  for (const t of numbers) bytes.add({ t, type: "x" });
  assert.equal(bytes.bytes().toString(), numbers.map((t) => `{"t":${t === 0 ? 0 : t},"type":"x"}\n`).join(""));
});

test("a row written by shape has the bytes of the same row as an object, wherever its line begins", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("client/c-017", 'say "no"', "\u2028", "é"));
  const number = fc.oneof(fc.nat(), fc.integer(), fc.double(), fc.maxSafeInteger());
  const fields = fc.array(fc.oneof(number, text, fc.boolean(), fc.constant(undefined)), { maxLength: 6 });
  fc.assert(
    fc.property(fc.array(fc.tuple(number, text, number, fields), { maxLength: 20 }), (rows) => {
      const [shaped, whole] = [new RowBytes(), new RowBytes()];
      for (const [t, type, n, values] of rows) {
        const row = { t, type, n, ...Object.fromEntries(values.map((value, at) => [`field ${at}`, value])) };
        whole.add(row);
        shaped.begin(new RowShape(type, "n", ...values.map((_, at) => `field ${at}`)), t).number(n);
        for (const [at, value] of values.entries()) {
          if (typeof value === "number") shaped.number(value);
          else if (typeof value === "boolean") shaped.boolean(value);
          else if (value !== undefined && at % 2 === 0) shaped.word(value);
          else shaped.text(value);
        }
        assert.deepEqual(shaped.current(), JSON.parse(JSON.stringify(row)));
        shaped.end();
      }
      assert.equal(shaped.bytes().toString(), whole.bytes().toString());
    }),
    { numRuns: 500, seed: 5 },
  );
});

test("long texts in a row leave room for the fields after them", () => {
  const names = Array.from({ length: 39 }, (_, at) => `a field with a long name, number ${at}`);
  const shape = new RowShape("x", "n", ...names);
  const rows = new RowBytes();
  for (let row = 0; row < 2_000; row++) {
    rows.begin(shape, row);
    for (let field = 0; field < 40; field++) {
      if (field % 2 === 0) rows.text("x".repeat(field * 7));
      else rows.number(2 ** 31 + row);
    }
    rows.end();
  }
  const lines = rows.bytes().toString().split("\n");
  assert.equal(lines.length, 2_001);
  for (const [row, line] of lines.slice(0, -1).entries()) assert.equal((JSON.parse(line) as { t: number }).t, row);
});
