/** The power fails at every operation of a run's files in turn; more of that is `npm run swarm -- --kind disk`. */
import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { writeAtomically } from "../../src/base/disk.ts";
import { Rng } from "../../src/base/random.ts";
import { temporaryFolder } from "../support/folders.ts";
import { firstSeed } from "../support/swarm/commit-seed.ts";
import { noTrouble, SimulatedDisk } from "../support/swarm/disk.ts";
import { calm, playLives, playStraight } from "../support/swarm/judge-disk.ts";
import { onThisThread, tabular } from "../support/tabular-run.ts";
import { stormy } from "../support/weather.ts";

/** Every sixth operation, others in the next commit. */
test("a run that loses power at any operation resumes to the same bytes", async (t) => {
  const folder = temporaryFolder(t);
  const scenario = stormy(5, { rounds: { count: 2, cohort: 4 }, checkpoints: { every: 1, keep: 1 } });
  const straight = await playStraight(scenario, folder);
  assert.ok(straight.operations > 60, `${straight.operations} operations`);
  for (let cutAt = firstSeed().seed % 6; cutAt <= straight.operations; cutAt += 6) {
    const lives = join(folder, String(cutAt));
    await playLives(scenario, straight, lives, [{ ...calm, cutAt }], cutAt);
    rmSync(lives, { recursive: true });
  }
});

test("so does one that trains, whose adapter is whole or not there", async (t) => {
  const folder = temporaryFolder(t);
  const scenario = tabular({ rounds: { count: 2, cohort: 4 }, checkpoints: { every: 1, keep: 1 } });
  const options = { pool: onThisThread };
  const straight = await playStraight(scenario, folder, options);
  // The last operations write what was learned and the result.
  for (const before of [3, 8, 15, 24, 31]) {
    const fates = [{ ...calm, cutAt: straight.operations - before }];
    await playLives(scenario, straight, join(folder, String(before)), fates, before, options);
  }
});

test("what is not made durable may be lost, half there, or there; what is survives", async (t) => {
  const folder = temporaryFolder(t);
  const found = new Set<string>();
  for (let seed = 0; seed < 40; seed++) {
    const disk = new SimulatedDisk(folder, new Rng(seed).at("test").at(0));
    const [safe, hasty] = ["safe", "hasty"].map((name) => join(folder, name)) as [string, string];
    await disk.whileOn(noTrouble, async () => {
      writeAtomically(safe, "old");
      writeAtomically(safe, "whole");
      const file = openSync(`${hasty}.tmp`, "w");
      writeSync(file, "whole");
      closeSync(file);
      renameSync(`${hasty}.tmp`, hasty);
    });
    disk.restart(false);
    assert.equal(readFileSync(safe, "utf8"), "whole");
    found.add(existsSync(hasty) ? readFileSync(hasty, "utf8") : "gone");
  }
  for (const state of ["gone", "", "whole"]) assert.ok(found.has(state), `"${state}" in ${[...found].join(", ")}`);
  assert.ok(found.size > 3, "some are cut off");
});
