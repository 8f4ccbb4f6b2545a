/** A checkout runs compiled output of the sources as they are, whoever starts it and whatever happened to them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { compiled } from "../../bin/compiled.mjs";
import { packageRoot } from "../../src/base/places.ts";
import { codeDigest } from "../../src/run/package.ts";
import { temporaryFolder } from "../support/folders.ts";

const start = promisify(execFile);
const builds = (checkout: string): string[] => readdirSync(join(checkout, ".cache", "compiled"));

/** A checkout of its own, with a command line that does nothing but say what it was made from. */
function copyOf(folder: string): { flame: () => Promise<string>; edit: (text: string) => void; path: string } {
  for (const name of ["bin", "src", "actors", "package.json", "package-lock.json", "tsconfig.json"]) {
    cpSync(join(packageRoot(), name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(packageRoot(), "node_modules"), join(folder, "node_modules"));
  const edit = (text: string) => writeFileSync(join(folder, "src", "cli", "main.ts"), text);
  const flame = async () => (await start(process.execPath, [join(folder, "bin", "flame.mjs")])).stdout;
  return { flame, edit, path: folder };
}

test("sources are compiled once, and again when they change, by whoever comes first", async (t) => {
  const { flame, edit, path } = copyOf(temporaryFolder(t));
  edit('process.stdout.write("one" satisfies string);\n');
  assert.deepEqual(await Promise.all([flame(), flame()]), ["one", "one"]);
  assert.equal(builds(path).length, 1, "two processes that start at once leave one build");
  const [first] = builds(path);
  edit('export { };\nprocess.stdout.write("two");\n');
  assert.equal(await flame(), "two");
  edit('process.stdout.write("one" satisfies string);\n');
  assert.equal(await flame(), "one");
  assert.equal(builds(path).length, 2, "what was compiled before is not compiled again");
  for (const lost of [".", "sources.sha256"]) {
    rmSync(join(path, ".cache", "compiled", first!, lost), { recursive: true });
    assert.equal(await flame(), "one");
  }
});

test("a checkout in which nothing is installed says what to do", async (t) => {
  const { flame, path } = copyOf(temporaryFolder(t));
  rmSync(join(path, "node_modules"));
  await assert.rejects(flame(), /is not installed: npm ci/);
});

test("an added, a deleted and a wrong file are seen, and a wrong one is named", async (t) => {
  const { flame, edit, path } = copyOf(temporaryFolder(t));
  edit('const { word } = await import("./added.ts");\nprocess.stdout.write(word);\nexport { };\n');
  const added = join(path, "src", "cli", "added.ts");
  writeFileSync(added, 'export const word = "here";\n');
  assert.equal(await flame(), "here");
  writeFileSync(added, "export const word = ;\n");
  await assert.rejects(flame(), ({ code, stderr }: { code: number; stderr: string }) => {
    assert.equal(code, 1);
    assert.match(stderr, /^the sources do not compile:\n[\s\S]*src\/cli\/added\.ts:1:20: ERROR/);
    return true;
  });
  rmSync(added);
  await assert.rejects(flame(), /src\/cli\/main\.ts:1:30: ERROR: Could not resolve "\.\/added\.ts"/);
  assert.equal(builds(path).filter((name) => name.includes(".")).length, 0, "nothing half made is left");
});

test("stacks name lines of the sources", async (t) => {
  const { flame, edit } = copyOf(temporaryFolder(t));
  edit(
    'interface Gone {\n  readonly line: number;\n}\nexport const gone: Gone = { line: 1 };\nconsole.log(new Error("here").stack);\n',
  );
  assert.match(await flame(), /src\/cli\/main\.ts:5:\d+/);
});

test("a run of compiled sources is continued by the sources, and the other way round: their digest is the same", async () => {
  const { href } = pathToFileURL(join(await compiled(), "src", "run", "package.js"));
  const compiledProgram = (await import(href)) as { codeDigest: typeof codeDigest };
  assert.equal(compiledProgram.codeDigest(), codeDigest());
});

test("a scenario that imports the sources of the checkout gets the running program, not a second one", async (t) => {
  const file = join(temporaryFolder(t), "own.ts");
  const sources = JSON.stringify(join(packageRoot(), "src", "index.ts"));
  writeFileSync(
    file,
    `import { defineScenario } from "flame-sim";
import * as sources from ${sources};
throw new Error(sources.defineScenario === defineScenario ? "the running one" : "a second one");
`,
  );
  await assert.rejects(
    start(process.execPath, [join(packageRoot(), "bin", "flame.mjs"), "run", file]),
    /^ +the running one/m,
  );
});
