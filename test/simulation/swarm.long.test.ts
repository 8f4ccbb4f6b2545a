/** A small part of `npm run swarm`, with other seeds in each commit. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { policySpecOf } from "../../src/scenario/schema.ts";
import { caseOf, scenarioOf } from "../support/swarm/generate.ts";
import { judgeSeeds, judgeSoundly, Workshop } from "../support/swarm/judge.ts";
import { addRare, neverTaken, type Rare } from "../support/swarm/rare.ts";

const workshop = new Workshop();
after(() => workshop.close());

/** The seeds of `swarm.test.ts` come first. */
const after12 = { skip: 12 };

test("fleets, networks and faults at random keep the rules, resumed anywhere", () =>
  judgeSeeds(workshop, { kind: "timing", count: 60, ...after12 }));

test("with everything switched on at once there is somebody left to count", async () => {
  // The same seeds in every commit: that many of them count is a matter of chance.
  const policies = new Set<string>();
  let counted = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const everything = caseOf("timing", seed, true);
    policies.add(policySpecOf(scenarioOf(everything).data).type);
    if ((await judgeSoundly(workshop, everything)).counted > 0) counted++;
  }
  assert.ok(counted >= 10, `updates are counted in ${counted} of 20 seeds`);
  assert.equal(policies.size, 4, [...policies].join(" "));
});

test("with everything switched on at once the rules are kept", () =>
  judgeSeeds(workshop, { kind: "timing", count: 20, all: true, ...after12 }));

test("on a disk that fails random federations come to the same bytes, or say what is damaged", () =>
  judgeSeeds(workshop, { kind: "disk", count: 15, skip: 2 }));

test("every rare branch of the program is taken by some seed", async () => {
  // The same seeds in every commit: with few of them, one may be missing by chance.
  const taken: Rare = {};
  for (let seed = 1; seed <= 16; seed++) addRare(taken, (await judgeSoundly(workshop, caseOf("disk", seed))).rare);
  assert.deepEqual(neverTaken("disk", taken), []);
  for (let seed = 1; seed <= 6; seed++) addRare(taken, (await judgeSoundly(workshop, caseOf("toy", seed))).rare);
  assert.deepEqual(neverTaken("toy", taken), []);
});

test("random federations with a toy engine keep the rules, whichever task is ready first", () =>
  judgeSeeds(workshop, { kind: "toy", count: 12, ...after12 }));

test("random federations train the same on one thread and on two, resumed or not", () =>
  judgeSeeds(workshop, { kind: "training", count: 2, ...after12 }));
