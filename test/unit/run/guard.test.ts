/** Code of a scenario's author that looks at the machine is stopped, and told where it stands and what to use. */
import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { freemem } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import timers from "node:timers";
import { pathToFileURL } from "node:url";
import { ScenarioError } from "../../../src/base/errors.ts";
import { minutes, seconds } from "../../../src/base/units.ts";
import { synchronous } from "../../../src/fl/policies/registry.ts";
import type { RoundPolicy } from "../../../src/fl/policy.ts";
import { guarded, guardLoading, guardScenario } from "../../../src/run/guard.ts";
import { run } from "../../../src/run/run.ts";
import { scenarioToJson } from "../../../src/scenario/define.ts";
import { expectThat } from "../../../src/scenario/expect.ts";
import { hook } from "../../../src/sim/script/effects.ts";
import { at } from "../../../src/sim/script/timeline.ts";
import { runFlame } from "../../support/command-line.ts";
import { temporaryFolder } from "../../support/run-folders.ts";
import { threeTiers, timingOnly } from "../../support/scenarios.ts";

const where = "world.timeline[0].effect.run";

/** Whatever gives another answer each time, and how the message names it. */
const forbidden: Readonly<Record<string, () => unknown>> = {
  "reads the clock (Date.now)": () => Date.now(),
  "reads the clock (new Date())": () => new Date(),
  "reads the clock (Date())": () => Date(),
  "reads the clock (performance.now)": () => performance.now(),
  "reads the clock (process.hrtime)": () => process.hrtime.bigint(),
  "reads the clock (process.uptime)": () => process.uptime(),
  "calls Math.random": () => Math.random(),
  "calls crypto.randomUUID": () => randomUUID(),
  "calls crypto.randomBytes": () => randomBytes(4),
  "calls crypto.getRandomValues": () => crypto.getRandomValues(new Uint8Array(4)),
  "reads the clock (performance.timeOrigin)": () => performance.timeOrigin,
  "reads the clock (performance.mark)": () => performance.mark("now"),
  "reads the clock (process.cpuUsage)": () => process.cpuUsage(),
  "looks at the machine (process.memoryUsage)": () => process.memoryUsage.rss(),
  "looks at the machine (os.freemem)": () => freemem(),
  "reads files (readdirSync)": () => readdirSync("."),
  "reads files (existsSync)": () => existsSync("."),
  "reads files (readFile)": () => readFile("package.json"),
  "starts a process (execSync)": () => execSync("date"),
  "calls process.nextTick": () => process.nextTick(() => {}),
  "calls setTimeout": () => setTimeout(() => {}, 0),
  "calls fetch": () => fetch("http://localhost"),
  "calls AbortSignal.timeout": () => AbortSignal.timeout(1),
  "looks at the garbage collector (WeakRef)": () => new WeakRef({}).deref(),
  "reads the clock (Intl.DateTimeFormat without a date)": () => new Intl.DateTimeFormat("en").format(),
};

test("each way to look at the machine is stopped in a function of the author's, and nowhere else", () => {
  for (const [what, look] of Object.entries(forbidden)) {
    assert.throws(guarded(where, look), (error: Error) => {
      assert.ok(error instanceof ScenarioError);
      assert.ok(error.message.startsWith(`${where} ${what}: no two runs would be the same. Expected `), error.message);
      return true;
    });
  }
  // Every date leads to the clock.
  assert.throws(
    guarded(where, () => new (new Date(0).constructor as DateConstructor)()),
    /reads the clock \(new Date\(\)\)/,
  );
  assert.throws(
    guarded(where, () => timers.setTimeout(() => {}, 0)),
    /calls setTimeout/,
  );
  assert.ok(Date.now() > 0);
  assert.ok(Math.random() < 1);
  assert.ok(new Date() instanceof Date);
  clearTimeout(setTimeout(() => {}, 0));
});

test("what gives the same answer each time is let through", () => {
  const allowed = guarded(where, () => [
    new Date(5).getTime(),
    Date.UTC(2026, 0),
    Math.sqrt(4),
    [3, 1, 2].sort(),
    Date.parse("2026-01-01"),
  ]);
  // A stream of the console has Node call what the author may not.
  guarded(where, () => console.error("said by a hook of a test"))();
  assert.deepEqual(allowed(), [5, Date.UTC(2026, 0), 2, [1, 2, 3], Date.parse("2026-01-01")]);
});

test("a function that would answer later is not waited for", () => {
  assert.throws(
    guarded(where, async () => 1),
    /effect\.run returns a promise; expected its result at once/,
  );
  // biome-ignore lint/suspicious/noThenProperty: it is what is asked about
  const late = { then: () => {} };
  assert.throws(
    guarded(where, () => late),
    /returns a promise/,
  );
});

test("what a function begins and does not wait for is found, and its failure says nothing", async () => {
  const begun =
    /effect\.run begins what would end later \(a promise, of an async function or import\(\)\); expected all/;
  let seen = 0;
  const forgetful: readonly (() => unknown)[] = [
    () => void (async () => void seen++)(),
    () => void Promise.resolve().then(() => seen++),
    () => void import("node:fs"),
    () => void import("./no-such-file.ts" as string),
    () => void Promise.reject(new Error("nobody hears this")),
    () => {
      guarded("inner", () => void Promise.resolve())();
    },
  ];
  const unheard: unknown[] = [];
  const hear = (reason: unknown) => void unheard.push(reason);
  process.on("unhandledRejection", hear);
  for (const forget of forgetful.slice(0, -1)) assert.throws(guarded(where, forget), begun);
  assert.throws(guarded(where, forgetful.at(-1)!), /^ScenarioError: inner begins what would end later/);
  assert.throws(
    guarded(where, async () => Promise.reject(new Error("nor this"))),
    /returns a promise/,
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off("unhandledRejection", hear);
  assert.deepEqual(unheard, []);
  // Neither the program's own, nor those of a function that failed, are the next one's mistake.
  assert.throws(
    guarded(where, () => {
      void Promise.resolve();
      throw new Error("on its own");
    }),
    /on its own/,
  );
  assert.equal(await Promise.resolve(guarded(where, () => 7)()), 7);
});

test("a date is formatted, now is not", () => {
  const format = new Intl.DateTimeFormat("en", { timeZone: "UTC", year: "numeric" });
  const { format: bound } = format;
  assert.equal(guarded(where, () => format.format(new Date(0)))(), "1970");
  assert.equal(guarded(where, () => format.formatToParts(0)[0]!.value)(), "1970");
  assert.throws(
    guarded(where, () => format.formatToParts()),
    /Intl\.DateTimeFormat without a date/,
  );
  assert.equal(format.format(), bound());
});

test("each function of a scenario is guarded under the name of its field", async () => {
  const scenario = timingOnly({
    fleet: [
      ...threeTiers.slice(0, 1),
      {
        name: "own",
        clients: 3,
        topK: 1,
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
  await assert.rejects(run(claimed, { out: null }), /expect "it is early" reads the clock \(new Date\(\)\)/);
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
  const guardedOnce = guardScenario(own);
  assert.equal(scenarioToJson(guardedOnce), scenarioToJson(own));
  assert.match(scenarioToJson(own), /"function": "storm"/);
  assert.equal(guardScenario(guardedOnce).data, guardedOnce.data, "once is enough");
});

/** Loads the files as a package of its own; the first is the scenario. */
async function load(folder: string, files: Readonly<Record<string, string>>): Promise<unknown> {
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const file = join(folder, Object.keys(files)[0]!);
  const module = (await guardLoading(file, () => import(pathToFileURL(file).href))) as { default: unknown };
  return module.default;
}

test("a file that reads the clock while it is loaded is told its line", async (t) => {
  const folder = temporaryFolder(t);
  await assert.rejects(
    load(folder, { "a.ts": "const x = 1;\nexport default x + Date.now();\n" }),
    /a\.ts:2 reads the clock \(Date\.now\).*Expected plain values; --seed and --set/,
  );
});

test("so is a file that it imports, and a library that it calls", async (t) => {
  const folder = temporaryFolder(t);
  const imported = {
    "b.ts": "import { d } from './c.ts';\nexport default d();\n",
    "c.ts": "export const d = () => Math.random();\n",
  };
  await assert.rejects(load(folder, imported), /c\.ts:1 calls Math\.random/);
});

test("a folder that a scenario lists while it is loaded comes in order", async (t) => {
  const folder = temporaryFolder(t);
  const text = "import { readdirSync } from 'node:fs';\nexport default readdirSync(import.meta.dirname);\n";
  const names = (await load(folder, { "e.ts": text, "z.ts": "", "f.ts": "" })) as string[];
  assert.deepEqual(names, [...names].sort());
});

test("the command line says it to the user, without a stack", async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(
    join(folder, "lucky.ts"),
    'import { defineScenario } from "flame-sim";\n' +
      'export default defineScenario({ name: "lucky", seed: Math.floor(Math.random() * 10), fleet: [], rounds: { count: 1, cohort: 1 } });\n',
  );
  const said = await runFlame("run", join(folder, "lucky.ts"));
  assert.equal(said.code, 2, said.err);
  assert.match(said.err, /lucky\.ts:2 calls Math\.random: no two runs would be the same/);
  assert.ok(!/\n\s+at /.test(said.err), said.err);
});
