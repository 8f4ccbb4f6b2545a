/** What is loaded before a command is known: help is asked for more often than anything else. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { packageRoot } from "../../../src/base/places.ts";

/** Everything that loading `path` loads: files from the root, packages by name. Types and dynamic imports load nothing. */
function loadedBy(path: string, known = new Set<string>()): Set<string> {
  if (known.has(path)) return known;
  known.add(path);
  const text = readFileSync(join(packageRoot(), path), "utf8");
  for (const [, target] of text.matchAll(/^(?:import|export)\s(?!type\b)[^"'`;]*?\bfrom\s*"([^"]+)"/gm)) {
    if (target!.startsWith(".")) loadedBy(join(dirname(path), target!), known);
    else if (!target!.startsWith("node:")) known.add(target!);
  }
  return known;
}

test("help and a mistyped option load no command and nothing of the simulator", () => {
  const all = [...loadedBy("src/cli/process.ts", loadedBy("src/cli/main.ts"))];
  const loaded = all.filter((name) => !name.startsWith("src/cli/screen/"));
  assert.deepEqual(loaded.toSorted(), [
    "commander",
    "picocolors",
    "src/base/errors.ts",
    "src/base/places.ts",
    "src/base/processes.ts",
    "src/base/units.ts",
    "src/cli/commands.ts",
    "src/cli/examples.ts",
    "src/cli/flame.ts",
    "src/cli/main.ts",
    "src/cli/model-commands.ts",
    "src/cli/options.ts",
    "src/cli/process.ts",
    "src/cli/shortage.ts",
    "src/engine/huge-pages.ts",
    "src/report/table.ts",
    "src/run/package.ts",
  ]);
});

test("the walk above sees what a command would bring with it", () => {
  assert.ok(loadedBy("src/cli/commands/run.ts").has("zod"));
});
