/** `flame methods`, and the table of the documentation, which says the same. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { About } from "../../src/fl/about.ts";
import { strategies } from "../../src/fl/strategies/registry.ts";
import { wrappers } from "../../src/fl/wrappers/define-strategy.ts";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";

const root = join(import.meta.dirname, "../..");

type Listed = About & { readonly name: string; readonly wraps: boolean };

test("every strategy and what goes around them is listed, with all that is said of it", async () => {
  const listed = JSON.parse((await runFlame("methods", "--json")).out) as Listed[];
  assert.deepEqual(
    listed.filter(({ wraps }) => !wraps).map(({ name }) => name),
    [...strategies.entries.keys()],
  );
  assert.deepEqual(
    listed.filter(({ wraps }) => wraps).map(({ name }) => name),
    Object.keys(wrappers),
  );
  const { out } = await runFlame("methods");
  for (const { name, adapts, certainty } of listed) {
    const [, entry] = new RegExp(`^${name} +(.*\\n.*)`, "m").exec(out)!;
    assert.ok(entry!.startsWith(adapts) && entry!.endsWith(certainty.split(":")[0]!), name);
  }
});

test("every method has a page and a row, which say what the code says, and all golden numbers are told of", () => {
  const command = ["--import", "./scripts/typescript.mjs", "scripts/docs.ts", "--check"];
  execFileSync(process.execPath, command, { cwd: root, stdio: "pipe" });
  const strategiesPage = readFileSync(join(root, "docs/strategies.md"), "utf8");
  for (const name of [...strategies.entries.keys(), ...Object.keys(wrappers)])
    assert.ok(strategiesPage.includes(`\n| \`${name}\` | `), name);
  const overview = readFileSync(join(root, "docs/methods/README.md"), "utf8");
  for (const golden of readdirSync(join(root, "test/golden/data/methods")))
    assert.ok(overview.includes(golden), golden);
  const { 1: systems } = /<!-- systems -->([\s\S]*)<!-- end of systems -->/.exec(overview)!;
  assert.equal(systems!.match(/^\| \[/gm)!.length, 19);
});

test("a method is listed with the tasks that have what it needs", async () => {
  const listed = JSON.parse((await runFlame("methods", "--json")).out) as (Listed & { readonly tasks: string[] })[];
  const tasks = new Map(listed.map((method) => [method.name, method.tasks.join(" ")]));
  assert.equal(tasks.get("fedavg"), "coloured llm restore tabular two-view vision");
  assert.equal(tasks.get("shefl"), "llm vision");
  assert.equal(tasks.get("bmsfed"), "two-view");
  const { out } = await runFlame("methods");
  assert.match(out, /^fedavg .*\n +tasks: any but pregating and refactor ·/m);
  assert.match(out, /^split-mix .*\n +tasks: llm, vision ·/m);
});

test("a task on which a method would train nothing is refused before the run", async () => {
  const { code, err } = await runFlame("run", "refactor", "--timing-only", "--set", 'strategy={"type":"fedavg"}');
  assert.equal(code, 2);
  assert.match(
    err,
    /strategy is fedavg, which does not need "cut", without which .* "refactor"; expected the task coloured or llm or/,
  );
});

test("a method is explained with options, defaults and ranges of its schema, and what it reduces to", async () => {
  const { out } = await runFlame("methods", "fedprox");
  assert.match(out, /F_i\(θ\) \+ μ\/2/);
  assert.match(out, /mu +number ≥ 0 +0\.01 +μ/);
  assert.match(out, /absentPolicy +renormalise \| dilute +dilute/);
  assert.match(out, /is +fedavg with mu=0: same program, same bytes/);
  assert.match((await runFlame("methods", "trimmed-mean")).out, /trim +number ≥ 0, < 0\.5 +0\.2/);
  assert.match((await runFlame("methods", "clipNorm")).out, /value +number > 0/);
});

test("a scenario file is read for the strategy that it brings", async (t) => {
  const text = `import { defineScenario, fedavg } from "flame-sim";
    const mine = { ...fedavg(), name: "mine", spec: { type: "mine" }, steps: () => ({ optimizer: "sgd" }) };
    const fleet = [{ name: "phone", clients: 2, budget: 1, tokensPerSecond: 100, uplink: 1e6 }];
    export default defineScenario({ name: "own", fleet, rounds: { count: 1, cohort: 1 }, strategy: mine });`;
  const file = join(temporaryFolder(t), "own.ts");
  writeFileSync(file, text);
  const { code, out, err } = await runFlame("methods", file);
  assert.equal(code, 0, err);
  assert.match(
    out,
    /own: mine, its own, in .*own\.ts \(sha256 [0-9a-f]{64}\)\n {2}weight, steps, begin, fold, finish\n/,
  );
});

test("a name that no method has is refused with the nearest one, and the list", async () => {
  const { code, err } = await runFlame("methods", "scafold");
  assert.equal(code, 2);
  assert.match(err, /no method scafold; did you mean scaffold\?\n.*one of bmsfed,.* clipNorm/);
});
