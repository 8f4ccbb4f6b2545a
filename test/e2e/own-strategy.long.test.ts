/** The strategies of one's own that docs/strategies.md and the README show. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { loadScenario } from "../../src/study/load-scenario.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun } from "../support/run-folders.ts";

const folder = folderOfFile();
const textOf = (name: string) => readFileSync(join(import.meta.dirname, "../..", name), "utf8");
const shown = textOf("docs/strategies.md");

test("the strategy that the documentation shows trains, and leaves the same bytes for any number of workers", async () => {
  const [, example] = /^```ts\n(import [\s\S]*?)^```/m.exec(shown)!;
  const file = join(folder, "own.ts");
  writeFileSync(file, example!);
  for (const workers of ["1", "2"]) {
    const { code, out, err } = await runFlame("run", file, "--out", join(folder, workers), "--workers", workers);
    assert.equal(code, 0, err);
    assert.match(out, /2 rounds, tether/);
  }
  const files = ["events.jsonl", "metrics.jsonl", "participations.jsonl", "adapter/adapter_model.safetensors"];
  assertSameRun(join(folder, "2"), join(folder, "1"), "two workers", files);
});

test("the documentation's own check finds nothing wrong with it", async () => {
  const [, example] = [...shown.matchAll(/^```ts\n(import [\s\S]*?)^```/gm)].map(([, text]) => text);
  const file = join(folder, "check.ts");
  writeFileSync(file, example!);
  // Whoever loads a scenario has imports of "flame-sim" mean this program.
  await loadScenario(join(folder, "own.ts"));
  const { broken } = (await import(pathToFileURL(file).href)) as { broken: unknown };
  assert.deepEqual(broken, []);
});

test("the README's strategy runs beside another, and cells that are done are kept", async () => {
  const example = [...textOf("README.md").matchAll(/^```ts\n(import [\s\S]*?)^```/gm)].map(([, text]) => text!)[1]!;
  const file = join(folder, "mine.ts");
  writeFileSync(file, example);
  const words = ["stress", file, "--strategies", "flame,mine", "--dropout", "0"];
  const { code, out, err } = await runFlame(...words, "--seeds", "1,", "--out", join(folder, "stress"));
  assert.equal(code, 0, err);
  for (const name of ["flame", "mine"]) assert.match(out, new RegExp(`^ *${name}\\b`, "m"));
  const again = await runFlame(...words, "--seeds", "1,", "--out", join(folder, "stress"));
  assert.match(again.out, /2 cells, 2 of them done before/);
});
