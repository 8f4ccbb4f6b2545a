/** What strangers and bad disks leave, by the dozen; `scripts/hostile.ts` makes them by the hundred. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { run } from "../../src/run/run.ts";
import { temporaryFolder } from "../support/folders.ts";
import { damagedCheckpoint } from "../support/hostile/checkpoints.ts";
import { damagedFolder, free } from "../support/hostile/run-folders.ts";
import { hostileTokenizers, useTokenizer } from "../support/hostile/tokenizers.ts";
import { Workshop } from "../support/swarm/judge.ts";
import { stormy } from "../support/weather.ts";

test("a checkpoint with a right digest and a wrong value never ends a run with a stack, or not at all", async () => {
  const workshop = new Workshop();
  const endings: string[] = [];
  for (let number = 0; number < 60; number++) {
    const { what, ending, message } = await damagedCheckpoint(number, 2, workshop);
    assert.notEqual(ending, "failed", `case ${number}, ${what}: ${message}`);
    endings.push(ending);
  }
  workshop.close();
  const refused = endings.filter((ending) => ending === "refused").length;
  assert.ok(refused > 40, `${refused} of 60 are refused by part and field`);
});

test("a tokenizer that nobody trained works or is refused with its file, and never keeps the program busy", async (t) => {
  const folder = temporaryFolder(t);
  let refused = 0;
  for (const name of Object.keys(hostileTokenizers)) {
    const begun = process.cpuUsage();
    const problem = await useTokenizer(name, folder, 300);
    const { user } = process.cpuUsage(begun);
    assert.ok(user < 3e6, `${name}: ${user / 1_000} ms`);
    if (problem === null) continue;
    refused++;
    assert.match(problem, /tokenizer\.json/, name);
  }
  assert.ok(refused >= 20, `${refused} are refused`);
});

test("whatever bit of a finished run is another, and wherever a file ends too early, verify sees it or nobody relies on it", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await run(stormy(3), { out });
  for (const [damage, count] of [
    ["a bit", 100],
    ["a cut", 60],
  ] as const) {
    let seen = 0;
    for (let number = 0; number < count; number++) {
      const { file, what, isSeen } = await damagedFolder(out, damage, number, 2);
      assert.ok(isSeen || free.test(file), `case ${number}, ${file}: ${what} is not seen`);
      if (isSeen) seen++;
    }
    assert.ok(seen > count / 2, `${seen} of ${count} are seen`);
  }
});
