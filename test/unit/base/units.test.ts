import assert from "node:assert/strict";
import { test } from "node:test";
import * as units from "../../../src/base/units.ts";

test("virtual time is whole milliseconds and rounds up", () => {
  assert.equal(units.millis(0), 0);
  assert.equal(units.millis(0.001), 1);
  assert.equal(units.seconds(1.5), 1_500);
  assert.equal(units.minutes(10), 600_000);
  assert.equal(units.hours(2), 7_200_000);
  assert.equal(units.days(1), 86_400_000);
  assert.equal(units.after(units.seconds(1), units.millis(1)), 1_001);
});

test("eight megabits a second move a million bytes a second", () => {
  assert.equal(units.megabits(8), 1_000_000);
  assert.equal(units.megabytes(1), 1_000_000);
});

test("a share is written with as many decimals as it has, up to a limit", () => {
  assert.deepEqual(
    [0.6, 0.4125, 1].map((share) => units.formatShare(share)),
    ["60 %", "41.3 %", "100 %"],
  );
  assert.equal(units.formatShare(0.125, 0), "13 %");
});

test("times are printed in the shortest form a reader can compare", () => {
  const printed = {
    "0ms": 0,
    "7ms": 7,
    "4.25s": 4_250,
    "12m30.5s": 750_500,
    "1m05.5s": 65_500,
    "2h05m": 7_500_000,
    "1d02h": 93_600_000,
  };
  for (const [text, time] of Object.entries(printed)) assert.equal(units.formatTime(time), text);
});

test("a time just below the next unit is never printed as sixty of the smaller one", () => {
  assert.equal(units.formatTime(59_999), "1m00s");
  assert.equal(units.formatTime(12 * 60_000 + 59_990), "13m00s");
  assert.equal(units.formatTime(3_599_990), "1h00m");
});

test("bytes are printed with three significant digits and a decimal prefix", () => {
  const printed = { "0 B": 0, "812 B": 812, "1.2 MB": 1_200_000, "35 GB": 35e9, "1.23 kB": 1_234 };
  for (const [text, bytes] of Object.entries(printed)) assert.equal(units.formatBytes(bytes), text);
  assert.equal(units.formatBytes(999_999), "1 MB");
});
