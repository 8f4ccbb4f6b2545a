import assert from "node:assert/strict";
import { test } from "node:test";
import { runFlame } from "../../support/command-line.ts";

test("served requests are compared over evictions and batchings, as a table or as JSON", async () => {
  const words = ["serve", "--requests", "20", "--tokens", "4"];
  const table = await runFlame(...words);
  assert.equal(table.code, 0, table.err);
  assert.match(table.out, /^batches by +eviction +hits/);
  assert.equal(table.out.trimEnd().split("\n").length, 2 + 8);
  const json = await runFlame(...words, "--slots", "8", "--json");
  const { rows } = JSON.parse(json.out) as { rows: readonly { hits: number; meanLatency: number }[] };
  // With room for all experts nothing is ever evicted.
  assert.equal(new Set(rows.slice(0, 4).map(({ hits }) => hits)).size, 1);
});

test("a token cannot have more experts than there are", async () => {
  const { code, err } = await runFlame("serve", "--active", "9");
  assert.equal(code, 2);
  assert.match(err, /--active is 9, expected at most 8, --experts/);
});
