import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { spread } from "../../../src/report/figure.ts";
import { bins, byteUnit, roundTicks, timeUnit } from "../../../src/report/numbers.ts";
import { formatTable } from "../../../src/report/table.ts";

test("columns of a table line up, names to the left and numbers to the right", () => {
  const rows = [
    ["phone", 7],
    ["workstation", 1_204],
    ["edge", "–"],
  ];
  assert.equal(
    formatTable(["tier", "counted"], rows, 1),
    [
      "tier         counted",
      "────────────────────",
      "phone              7",
      "workstation     1204",
      "edge               –",
    ].join("\n"),
  );
});

test("a table wider than the terminal goes on below, with its names again", () => {
  const rows = [["phone", 1, 22, 333]];
  assert.equal(
    formatTable(["tier", "one", "two", "three"], rows, 1, 16),
    "tier   one  two\n───────────────\nphone    1   22\n\ntier   three\n────────────\nphone    333",
  );
  assert.equal(formatTable(["tier", "one"], [["phone", 1]], 1, 3), "tier   one\n──────────\nphone    1");
});

test("colours of a terminal take no width, and a short row has empty cells", () => {
  const text = formatTable(["a", "b", "c"], [["\u001b[31mred\u001b[39m", "x"]], 2);
  assert.equal(text, "a    b  c\n─────────\n\u001b[31mred\u001b[39m  x");
});

test("labels that would cover each other move apart, around where they were", () => {
  assert.deepEqual(spread([100, 101, 10], 10), [95.5, 105.5, 10]);
});

test("spread labels keep their order and their distance", () => {
  const heights = fc.array(fc.double({ min: 0, max: 300, noNaN: true }), { maxLength: 12 });
  fc.assert(
    fc.property(heights, (positions) => {
      const placed = spread(positions, 13);
      const order = positions.map((_, i) => i).sort((a, b) => positions[a]! - positions[b]! || a - b);
      for (let i = 1; i < order.length; i++) {
        // A millionth of a pixel is what floating point costs.
        assert.ok(placed[order[i]!]! - placed[order[i - 1]!]! >= 13 - 1e-6);
      }
    }),
    { seed: 11, numRuns: 300 },
  );
});

test("bins hold every item once, in order, and are no more than asked for", () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), fc.integer({ min: 1, max: 50 }), (items, most) => {
      const groups = bins(items, most);
      assert.deepEqual(groups.flat(), items);
      assert.ok(groups.length <= most);
    }),
    { seed: 12, numRuns: 200 },
  );
});

test("axes take the unit in which they read best", () => {
  assert.equal(timeUnit(45_000).unit, "seconds");
  assert.equal(timeUnit(45 * 60_000).unit, "minutes");
  assert.equal(timeUnit(0).unit, "milliseconds");
  assert.equal(byteUnit(3_000_000).unit, "MB");
  assert.equal(byteUnit(12).unit, "bytes");
  assert.deepEqual(roundTicks([{ round: 1 }, { round: 2 }]), { ticks: [1, 2], tickFormat: "d" });
});
