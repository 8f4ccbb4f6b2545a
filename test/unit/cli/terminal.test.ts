import assert from "node:assert/strict";
import { test } from "node:test";
import pc from "picocolors";
import { visible } from "../../../src/cli/screen/terminal.ts";

test("what somebody else wrote sets no title, clears no screen and turns no text around: it is shown", () => {
  assert.equal(visible("a\u001b]0;title\u0007b\u001b[2Jc"), "a\\u001b]0;title\\u0007b\\u001b[2Jc");
  assert.equal(
    visible("\u009b2J\u009b[31m \r \u007f \u202eevil\u202c \u2066x"),
    "\\u009b2J\\u009b[31m \\u000d \\u007f \\u202eevil\\u202c \\u2066x",
  );
  assert.equal(visible("\u001b[8mhidden\u001b[38;5;1m"), "\\u001b[8mhidden\\u001b[38;5;1m");
  assert.equal(visible("two\nlines\tGrüße 世界 👩‍👩‍👧"), "two\nlines\tGrüße 世界 👩‍👩‍👧");
  const { bold, dim, red, green, yellow, cyan } = pc.createColors(true);
  const styled = [bold, dim, red, green, yellow, cyan].map((style) => style("text")).join("");
  assert.equal(visible(styled), styled);
});

test("JSON stays the same JSON", () => {
  const value = { question: "a\u001b[2J\u009b2J\u202e\u2028", tab: "\t" };
  assert.deepEqual(JSON.parse(visible(JSON.stringify(value))), value);
});
