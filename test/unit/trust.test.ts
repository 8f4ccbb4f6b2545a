import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);

test("every row of the threat model names a test that there is", () => {
  const text = readFileSync(new URL("docs/trust.md", root), "utf8");
  const rows = text
    .slice(0, text.indexOf("## Consent"))
    .split("\n")
    .filter((line) => line.startsWith("| a") || line.startsWith("| the"));
  assert.ok(rows.length >= 16, `${rows.length} rows`);
  for (const row of rows) {
    const shown = [
      ...row
        .split("|")
        .at(-2)!
        .matchAll(/`([\w/-]+)`/g),
    ].map(([, name]) => name!);
    assert.ok(shown.length > 0, row);
    for (const name of shown) {
      const files = [`test/${name}.test.ts`, `test/${name}.long.test.ts`];
      assert.ok(
        files.some((file) => existsSync(new URL(file, root))),
        `${name}, for ${row.slice(0, 60)}`,
      );
    }
  }
});
