/** Code of a scenario's author that reads the clock or unkeyed chance is told where it stands and what to use. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { minutes, seconds } from "../../../src/base/units.ts";
import { synchronous } from "../../../src/fl/policies/registry.ts";
import type { RoundPolicy } from "../../../src/fl/policy.ts";
import { guarded, guardScenario } from "../../../src/run/guard.ts";
import { run } from "../../../src/run/run.ts";
import { scenarioToJson } from "../../../src/scenario/define.ts";
import { expectThat } from "../../../src/scenario/expect.ts";
import { hook } from "../../../src/sim/script/effects.ts";
import { at } from "../../../src/sim/script/timeline.ts";
import { runFlame } from "../../support/command-line.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { threeTiers, timingOnly } from "../../support/scenarios.ts";

const where = "world.timeline[0].effect.run";

/** What people take by mistake and gives another answer each time, and how the message names it. */
const forbidden: Readonly<Record<string, () => unknown>> = {
  "reads the clock (Date.now)": () => Date.now(),
  "reads the clock (new Date())": () => new Date(),
  "reads the clock (performance.now)": () => performance.now(),
  "calls Math.random": () => Math.random(),
};

test("clock and unkeyed chance are refused to a function of the author's, and to nobody else", () => {
  for (const [what, look] of Object.entries(forbidden)) {
    assert.throws(guarded(where, look), (error: Error) => {
      assert.ok(error instanceof ScenarioError);
      assert.ok(error.message.startsWith(`${where} ${what}: no two runs would be the same. Expected `), error.message);
      return true;
    });
  }
  assert.ok(Date.now() > 0);
  assert.ok(Math.random() < 1);
  assert.ok(performance.now() > 0);
  assert.ok(new Date() instanceof Date);
});

test("a function of the author's neither ends the process nor takes it to another folder", () => {
  assert.throws(
    guarded(where, () => process.exit(0)),
    /calls process\.exit\. Expected an error that it throws/,
  );
  assert.throws(
    guarded(where, () => process.chdir("/")),
    /calls process\.chdir\. Expected whole paths/,
  );
});

test("the name in the message is that of the innermost function", () => {
  const inner = guarded("inner", () => Math.random());
  assert.throws(guarded("outer", inner), /^ScenarioError: inner calls/);
  const afterwards = () => {
    guarded("inner", () => 1)();
    return Math.random();
  };
  assert.throws(guarded("outer", afterwards), /^ScenarioError: outer calls/);
});

test("what gives the same answer each time is let through", () => {
  const allowed = guarded(where, () => [new Date(5).getTime(), Date.UTC(2026, 0), Math.sqrt(4), [3, 1, 2].sort()]);
  // Node itself reads the clock where a stream of the console is written.
  guarded(where, () => console.error("said by a hook of a test"))();
  assert.deepEqual(allowed(), [5, Date.UTC(2026, 0), 2, [1, 2, 3]]);
});

test("a function that would answer later is not waited for, and its failure says nothing more", async (t) => {
  const unheard: unknown[] = [];
  const hear = (reason: unknown) => void unheard.push(reason);
  process.on("unhandledRejection", hear);
  t.after(() => process.off("unhandledRejection", hear));
  assert.throws(
    guarded(where, async () => Promise.reject(new Error("nobody hears this"))),
    /effect\.run returns a promise; expected its result at once/,
  );
  // Node tells of a rejection that nobody handles before it comes to this.
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(unheard, []);
});

test("each function of a scenario is guarded under the name of its field", async () => {
  const scenario = timingOnly({
    fleet: [
      ...threeTiers.slice(0, 1),
      {
        name: "own",
        clients: 3,
        budget: 1,
        uplink: 1e6,
        speed: { type: "function", of: () => 100 + Math.random() },
      },
    ],
    rounds: { count: 1, cohort: 2, deadline: minutes(1) },
  });
  await assert.rejects(run(scenario, { out: null }), /^ScenarioError: fleet\[1\]\.speed\.of calls Math\.random/);
  const hooked = timingOnly({
    world: {
      timeline: [
        at(
          seconds(1),
          hook(() => void Date.now()),
        ),
      ],
    },
  });
  await assert.rejects(run(hooked, { out: null }), /world\.timeline\[0\]\.effect\.run reads the clock.*sim\.now/);
  const claimed = timingOnly({ expect: [expectThat("it is early", () => new Date().getHours() < 12)] });
  const [early] = (await run(claimed, { out: null })).expectations;
  assert.equal(early?.held, false);
  assert.match(early.detail, /expect "it is early" reads the clock \(new Date\(\)\)/);
});

test("a policy that is an object of a class is guarded as well", async () => {
  const { name: _, spec: __, ...inner } = synchronous({ cohort: 4, deadline: minutes(1) });
  class Moody implements RoundPolicy {
    readonly name = "moody";
    readonly spec = { type: "moody" };
    readonly carriesOver = false;
    readonly #mood = 1;
    onRound(view: Parameters<RoundPolicy["onRound"]>[0]) {
      return Math.random() < this.#mood ? inner.onRound(view) : [];
    }
    onUpdate = inner.onUpdate;
    onTimer = inner.onTimer;
    onQuiet = inner.onQuiet;
  }
  const scenario = timingOnly({ rounds: { count: 1, cohort: 4, policy: new Moody() } });
  await assert.rejects(run(scenario, { out: null }), /rounds\.policy\.onRound calls Math\.random.*draws/);
});

test("guarding changes neither what a scenario is nor what its scenario.json says", () => {
  const plain = timingOnly();
  assert.equal(guardScenario(plain).data, plain.data);
  const own = timingOnly({
    world: {
      timeline: [
        at(
          seconds(1),
          hook(function storm() {}),
        ),
      ],
    },
  });
  const underGuard = guardScenario(own);
  assert.equal(scenarioToJson(underGuard), scenarioToJson(own));
  assert.match(scenarioToJson(own), /"function": "storm"/);
});

/** A scenario file with a speed of the author's. */
function scenarioFile(folder: string, speed: string): string {
  const path = join(folder, "own.ts");
  writeFileSync(
    path,
    `import { defineScenario, minutes } from "flame-sim";
import { randomInt } from "node:crypto";
export default defineScenario({
  name: "own", seed: 1, timingOnly: true,
  data: { sizes: { examplesPerClient: 10, tokensPerExample: 20 } },
  fleet: [{ name: "phone", clients: 4, budget: 1, uplink: 1e6, speed: { type: "function", of: () => ${speed} } }],
  rounds: { count: 1, cohort: 2, deadline: minutes(10) },
});
`,
  );
  return path;
}

test("the command line says it to the user, without a stack", async (t) => {
  const folder = temporaryFolder(t);
  const said = await runFlame("run", scenarioFile(folder, "100 + Math.random()"), "--out", join(folder, "run"));
  assert.equal(said.code, 2, said.err);
  assert.match(said.err, /fleet\[0\]\.speed\.of calls Math\.random: no two runs would be the same/);
  assert.ok(!/\n\s+at /.test(said.err), said.err);
});

test("what is not refused at once shows when the run is made again", async (t) => {
  const folder = temporaryFolder(t);
  const out = join(folder, "run");
  const ran = await runFlame("run", scenarioFile(folder, "100 + randomInt(2 ** 40) / 2 ** 30"), "--out", out);
  assert.equal(ran.code, 0, ran.err);
  assert.equal((await runFlame("verify", out)).code, 0);
  const again = await runFlame("verify", out, "--rerun");
  assert.equal(again.code, 1, again.out);
  assert.match(
    again.out,
    /fails {2}the scenario gives these very bytes when it is run again: first differences: event/,
  );
});
