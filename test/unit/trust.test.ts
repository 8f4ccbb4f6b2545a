import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const rooms = "contract|e2e|golden|property|simulation|unit";

/** The tests that a text names. */
const namedIn = (text: string): string[] =>
  [...text.matchAll(new RegExp(`\`((?:${rooms})/[\\w/-]+)\``, "g"))].map(([, name]) => name!);

for (const [document, heading, least] of [
  ["trust.md", "who wrote it", 16],
  ["faults.md", "what happens", 39],
  ["determinism.md", "what is different", 11],
] as const) {
  test(`every row of the table of ${document} names what shows it, and every test that it names is there`, () => {
    const text = readFileSync(new URL(`docs/${document}`, root), "utf8");
    const [table = ""] = text.slice(text.indexOf(`| ${heading}`)).split("\n\n");
    const rows = table.split("\n").slice(2);
    assert.ok(rows.length >= least, `${rows.length} rows`);
    for (const row of rows) assert.ok(namedIn(row.split("|").at(-2)!).length > 0, row);
    for (const name of namedIn(text)) {
      const files = [`test/${name}.test.ts`, `test/${name}.long.test.ts`];
      assert.ok(
        files.some((file) => existsSync(new URL(file, root))),
        name,
      );
    }
  });
}
