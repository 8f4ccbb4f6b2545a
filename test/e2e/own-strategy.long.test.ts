/** The strategy of one's own that docs/strategies.md shows. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun } from "../support/run-folders.ts";

const folder = folderOfFile();
const shown = readFileSync(join(import.meta.dirname, "../../docs/strategies.md"), "utf8");

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
