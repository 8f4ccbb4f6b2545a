import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RowBytes, type TraceRow } from "../../src/sim/row-bytes.ts";

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
    { numRuns: 2_000, seed: 5 },
  );
});

test("every whole number is written as JavaScript writes it", () => {
  const bytes = new RowBytes();
  const numbers = [0, 9, 10, 99, 100, 101, 999, 1_000, 65_535, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -0];
  for (let power = 1; power < 2 ** 32; power *= 10) numbers.push(power - 1, power, power + 1);
  for (const t of numbers) bytes.add({ t, type: "x" });
  assert.equal(bytes.bytes().toString(), numbers.map((t) => `{"t":${t === 0 ? 0 : t},"type":"x"}\n`).join(""));
});
