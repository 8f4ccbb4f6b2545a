/** The digest of a scenario's own code: what it covers, and what not. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { ownCodeDigest } from "../../../src/scenario/own-code.ts";
import { temporaryFolder } from "../../support/folders.ts";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

function written(folder: string, files: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return join(folder, "scenario.ts");
}

test("a file that imports packages alone has the digest that sha256sum prints", (t) => {
  const text = 'import { flame } from "flame-sim";\nimport fs from "node:fs";\nexport default 1;\n';
  assert.equal(ownCodeDigest(written(temporaryFolder(t), { "scenario.ts": text })), sha256(text));
});

for (const [how, line, part] of [
  ["a name", 'import { a } from "./part.ts";', "part.ts"],
  ["its name as JavaScript", 'import { a } from "./part.js";', "part.ts"],
  ["no ending", "export * from './lib/part';", "lib/part.ts"],
  ["the name of its folder", 'import "./lib";', "lib/index.ts"],
  ["a call", "const a = await import(`./part.mjs`);", "part.mjs"],
  ["a list over several lines", 'import {\n  a,\n  b,\n} from "./part.ts";', "part.ts"],
  ["data", 'import rows from "./rows.json" with { type: "json" };', "rows.json"],
] as const) {
  test(`a file that is imported by ${how} is code as well`, (t) => {
    const folder = temporaryFolder(t);
    const digests = ["1", "2"].map((text) => ownCodeDigest(written(folder, { "scenario.ts": line, [part]: text })));
    assert.notEqual(digests[0], digests[1]);
  });
}

test("what imports each other is read once, and the digest does not depend on where the folder lies", (t) => {
  const files = {
    "scenario.ts": 'import "./a.ts";\nimport "./b.ts";',
    "a.ts": 'import "./b.ts";',
    "b.ts": 'import "./a.ts";\nimport "./scenario.ts";',
  };
  const [one, two] = [0, 1].map(() => ownCodeDigest(written(temporaryFolder(t), files)));
  assert.equal(one, two);
  const other = ownCodeDigest(written(temporaryFolder(t), { ...files, "a.ts": 'import "./b.ts"; // other' }));
  assert.notEqual(one, other);
});

test("a scenario that is a folder, or a file without end, has no digest", (t) => {
  assert.throws(() => ownCodeDigest(temporaryFolder(t)), InputError);
  if (process.platform !== "win32") assert.throws(() => ownCodeDigest("/dev/zero"), InputError);
});
