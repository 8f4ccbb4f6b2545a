import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { mappedAgain } from "../../../src/base/processes.ts";
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

test("a file that several threads have mapped counts once", () => {
  // Two of a file of 8 kB, in pieces; one half read of 16 kB; and memory of no file.
  const smaps = [
    ["7f0000000000-7f0000002000 r--p 00000000 08:01 77 /weights", 8],
    ["7f0000002000-7f0000003000 r--p 00000000 08:01 77 /weights", 4],
    ["7f0000003000-7f0000004000 r--p 00001000 08:01 77 /weights", 4],
    ["7f0000004000-7f0000008000 r--p 00000000 08:01 78 /other", 8],
    ["7f0000008000-7f0000009000 rw-p 00000000 00:00 0 ", 4],
    ["7f0000009000-7f000000a000 rw-p 00000000 00:00 0 [heap]", 4],
  ].map(([mapping, resident]) => `${mapping}\nSize: 99 kB\nRss:       ${resident} kB\nPss: 1 kB\n`);
  assert.equal(mappedAgain(smaps.join("")), 8_192);
  assert.equal(mappedAgain(""), 0);
});
