/** A dozen seeds of `npm run swarm`, others in each commit, and every seed that ever failed in it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { caseAgain, caseOf, featuresOf, type Regression, scenarioOf } from "../support/swarm/generate.ts";
import { commandFor, judgeSeeds, judgeSoundly, shrink, Workshop } from "../support/swarm/judge.ts";

const workshop = new Workshop();
after(() => workshop.close());

test("fleets, networks and faults at random keep the rules, resumed anywhere", () =>
  judgeSeeds(workshop, { kind: "timing", count: 7 }));

test("with everything switched on at once the rules are kept", () =>
  judgeSeeds(workshop, { kind: "timing", count: 2, all: true }));

test("on a disk that fails random federations come to the same bytes, or say what is damaged", () =>
  judgeSeeds(workshop, { kind: "disk", count: 2 }));

test("random federations with a toy engine keep the rules, whichever task is ready first", () =>
  judgeSeeds(workshop, { kind: "toy", count: 2 }));

test("random federations train the same on one thread and on two, resumed or not", () =>
  judgeSeeds(workshop, { kind: "training", count: 1 }));

test("seeds that failed once stay mended", async () => {
  const known = JSON.parse(
    readFileSync(new URL("../support/swarm/regressions.json", import.meta.url), "utf8"),
  ) as Regression[];
  for (const regression of known) {
    const swarm = caseAgain(regression);
    assert.deepEqual(featuresOf(swarm), regression.features, "the case is what it was");
    await judgeSoundly(workshop, swarm, `once: ${regression.found}`);
  }
});

test("a seed gives the same scenario every time, and a feature left out changes no other", () => {
  const whole = caseOf("toy", 5);
  assert.deepEqual(scenarioOf(whole).data.fleet, scenarioOf(whole).data.fleet);
  const [first] = featuresOf(whole);
  const part = { ...whole, without: [first!] };
  assert.deepEqual(
    featuresOf(part),
    featuresOf(whole).filter((name) => name !== first),
  );
});

test("the swarm sees every feature, and none in every scenario", () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 60; seed++) {
    for (const name of featuresOf(caseOf("toy", seed))) seen.set(name, (seen.get(name) ?? 0) + 1);
  }
  // 60 seeds, each feature on in about 40 %: at most 59 and at least 5 of them, but for a chance below 1e-6.
  assert.ok(seen.size > 50, `${seen.size} features`);
  for (const [name, count] of seen) assert.ok(count >= 5 && count <= 59, `${name} in ${count} of 60`);
});

test("a failing case shrinks to the feature that is to blame", async () => {
  const failing = caseOf("timing", 3);
  const features = featuresOf(failing);
  assert.ok(features.includes("churn") || features.length > 3, features.join(" "));
  const blamed = features[2]!;
  const smallest = await shrink(failing, async (swarm) => featuresOf(swarm).includes(blamed));
  assert.deepEqual(featuresOf(smallest), [blamed]);
  assert.equal(smallest.scale, 0.1);
  assert.match(commandFor(smallest), /^npm run swarm -- --seed 3 --without .* --scale 0.1$/);
});
