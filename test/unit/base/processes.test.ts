import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { needs } from "../../support/needs.ts";

test("the most memory that a process had is its own, whoever started it", {
  skip: process.platform !== "linux" && needs.linux,
}, () => {
  const here = Buffer.alloc(3e8, 1);
  const loader = new URL("../../../scripts/typescript.mjs", import.meta.url).href;
  const asked = new URL("../../../src/base/processes.ts", import.meta.url).href;
  const code = `import(${JSON.stringify(asked)}).then(({ peakMemory }) => process.stdout.write(String(peakMemory())))`;
  const { stdout } = spawnSync(process.execPath, ["--import", loader, "--eval", code], { encoding: "utf8" });
  assert.ok(Number(stdout) > 1e7 && Number(stdout) < here.length, `${stdout} bytes`);
});
