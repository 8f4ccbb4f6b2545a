/** What a run draws is written down by purpose and round, so that two runs that part can be told why. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { minutes } from "../../src/base/units.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { hook } from "../../src/sim/script/effects.ts";
import { every } from "../../src/sim/script/timeline.ts";
import { compareRuns, isSame } from "../../src/study/diff.ts";
import { temporaryFolder } from "../support/folders.ts";
import { interruptAfter } from "../support/run-folders.ts";
import { timingOnly } from "../support/scenarios.ts";
import { stormy } from "../support/weather.ts";

test("words and blocks are counted by purpose, in whatever order they are drawn", () => {
  const [one, other] = [new Rng(3), new Rng(3)];
  for (const item of [1, 2, 3]) one.at("dropout", 4).at(item).uniform();
  for (const item of [3, 1, 2]) other.at("dropout", 4).at(item).uniform();
  const found = one.drawn();
  assert.deepEqual(found, other.drawn());
  assert.match(found.dropout!, /^6:[0-9a-f]{8}$/);
  assert.deepEqual(one.drawn(), {}, "only what is new is told");
  one.at("dropout", 5).at(1).uniform();
  other.at("dropout", 4).at(1).uniform();
  assert.notDeepEqual(one.drawn(), other.drawn());
});

test("where two runs draw differently, the first purpose and round are named", async (t) => {
  const folder = temporaryFolder(t);
  const play = async (name: string, greedyFrom: number) => {
    let calls = 0;
    const draw = hook((sim) => {
      // One of the two runs draws once more from some call on; nothing else comes of it.
      for (let i = ++calls > greedyFrom ? 2 : 1; i > 0; i--) sim.draws.uniform();
    });
    const world = { timeline: [every(minutes(1), draw)] };
    await run(timingOnly({ name: "draws", world, rounds: { count: 5, cohort: 8, deadline: minutes(1) } }), {
      out: join(folder, name),
    });
    return join(folder, name);
  };
  const [a, b, c] = [await play("a", 99), await play("b", 99), await play("c", 2)];
  assert.equal(compareRuns(a, b).draws, null);
  const found = compareRuns(a, c);
  assert.ok(isSame(found), "their bytes are the same");
  assert.equal(found.draws?.purpose, "hook 0", JSON.stringify(found.draws));
  assert.ok(found.draws!.round > 1 && found.draws!.a !== found.draws!.b, JSON.stringify(found.draws));
});

test("a run that was resumed is compared as far as it came in one go", async (t) => {
  const [straight, resumed] = ["straight", "resumed"].map((name) => join(temporaryFolder(t), name)) as [string, string];
  await run(stormy(1), { out: straight });
  await run(stormy(1), { out: resumed, signal: interruptAfter(60) });
  await resume(await loadRun(resumed));
  assert.equal(compareRuns(straight, resumed).draws, null);
});
