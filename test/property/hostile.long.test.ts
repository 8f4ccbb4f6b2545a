/** What strangers and bad disks leave, by the dozen; `scripts/hostile.ts` makes them by the hundred. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { damagedCheckpoint } from "../support/hostile/checkpoints.ts";
import { Workshop } from "../support/swarm/judge.ts";

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
