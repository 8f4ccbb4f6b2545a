/** A run folder from elsewhere may name code. Nothing of it runs before the user agrees to these very bytes. */
import assert from "node:assert/strict";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { InputError, ScenarioError } from "../../src/base/errors.ts";
import { loadRun } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { configure } from "../../src/scenario/configure.ts";
import { ownCodeDigest } from "../../src/scenario/own-code.ts";
import { reloadWith } from "../../src/study/consent.ts";
import { loadScenario, sourceOf } from "../../src/study/load-scenario.ts";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";

let folder = "";
/** The stranger's run was interrupted, and its code lies within it, as does the same run when it had finished. */
let half = "";
let whole = "";
const cleanUps: (() => void)[] = [];
const mark = () => join(folder, "ran");
const { XDG_STATE_HOME } = process.env;

const code = (hook: string) => `import { writeFileSync } from "node:fs";
import { defineScenario, every, hook, minutes, seconds } from "flame-sim";
import { share } from "./part.js";
writeFileSync(${JSON.stringify(mark())}, "ran");
export default defineScenario({
  name: "foreign",
  timingOnly: true,
  model: { vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 },
  data: { sizes: { examplesPerClient: 40, tokensPerExample: 60 } },
  fleet: [{ name: "phone", clients: 9, budget: 1, tokensPerSecond: 300, uplink: 60_000 }],
  rounds: { count: 4, cohort: 4, deadline: minutes(1) },
  checkpoints: { every: 1 },
  world: { timeline: [every(seconds(3), hook((sim) => { ${hook}; return void share; }))] },
});
`;

before(async () => {
  folder = temporaryFolder({ after: (action) => void cleanUps.push(action as () => void) });
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  for (const name of ["half", "whole"]) {
    const path = join(folder, name);
    mkdirSync(path);
    writeFileSync(join(path, "part.ts"), "export const share = 0.5;\n");
    writeFileSync(join(path, "scenario.ts"), code("sim.draws.bernoulli(0.5)"));
  }
  half = join(folder, "half");
  whole = join(folder, "whole");
  for (const out of [half, whole]) {
    const file = join(out, "scenario.ts");
    const scenario = configure((await loadScenario(file)).scenarios[0]!, {});
    const signal = out === half ? { signal: interruptAfter(40) } : {};
    await run(scenario, { out, source: sourceOf(file, {})!, ...signal });
  }
});
beforeEach(() => {
  process.env.XDG_STATE_HOME = join(folder, "state");
  rmSync(join(folder, "state"), { recursive: true, force: true });
  rmSync(mark(), { force: true });
});
after(() => {
  process.env.XDG_STATE_HOME = XDG_STATE_HOME;
  for (const cleanUp of cleanUps) cleanUp();
});

let copies = 0;
/** A module is loaded once by its path: each test has a folder of its own, which run.json names. */
function copyOf(original: string): string {
  const copy = join(folder, `stranger-${copies++}`);
  cpSync(original, copy, { recursive: true });
  const record = join(copy, "run.json");
  writeFileSync(record, readFileSync(record, "utf8").replaceAll(original, copy));
  return copy;
}

const commands = [
  ["resume", (out: string) => ["resume", out], () => half],
  ["verify --rerun", (out: string) => ["verify", out, "--rerun"], () => whole],
] as const;

for (const [name, words, original] of commands) {
  test(`${name} executes nothing of a run from elsewhere, and says what it would`, async () => {
    const out = copyOf(original());
    const said = await runFlame(...words(out));
    assert.equal(said.code, 2, said.out);
    assert.equal(existsSync(mark()), false, "the code ran");
    const file = join(out, "scenario.ts");
    const digest = ownCodeDigest(file);
    assert.ok(said.err.includes(`${file} (sha256 ${digest})`), said.err);
    assert.match(said.err, /names code that you have not run here, and nothing of it was executed/);
    assert.match(said.err, new RegExp(`--trust-code ${digest.slice(0, 12)} then executes it, and --scenario <file>`));
    assert.equal(said.err.trimEnd().split("\n").length, 1, "one line");
  });

  test(`${name} goes on once the digest was agreed to, and remembers that`, async () => {
    const out = copyOf(original());
    const digest = ownCodeDigest(join(out, "scenario.ts"));
    const wrong = await runFlame(...words(out), "--trust-code", "0123456789ab");
    assert.equal(wrong.code, 2);
    assert.equal(existsSync(mark()), false, "the code ran");
    const said = await runFlame(...words(out), "--trust-code", digest.slice(0, 12));
    assert.equal(said.code, 0, said.err + said.out);
    assert.equal(existsSync(mark()), true);
    if (name === "resume") assertSameRun(out, whole, "after consent");
    const again = await runFlame("verify", out, "--rerun");
    assert.equal(again.code, 0, again.err + again.out);
  });

  test(`${name} goes on with a file that the user names`, async () => {
    const out = copyOf(original());
    const own = join(folder, `own-${copies}`);
    cpSync(out, own, { recursive: true });
    for (const part of ["scenario.ts", "part.ts"]) rmSync(join(out, part));
    const missing = await runFlame(...words(out));
    assert.equal(missing.code, 2);
    assert.match(missing.err, /its file \S+scenario\.ts is not there; --scenario <file> names it where it is now/);
    const said = await runFlame(...words(out), "--scenario", join(own, "scenario.ts"));
    assert.equal(said.code, 0, said.err + said.out);
  });
}

test("a run that this user began goes on without a question, and only as long as its code is the same", async () => {
  const own = join(folder, "mine");
  mkdirSync(own);
  for (const part of ["scenario.ts", "part.ts"]) cpSync(join(half, part), join(own, part));
  const file = join(own, "scenario.ts");
  assert.equal((await runFlame("run", file, "--out", join(own, "whole"))).code, 0);
  const out = join(own, "half");
  const scenario = (await loadScenario(file)).scenarios[0]!;
  await run(scenario, { out, source: sourceOf(file, {})!, signal: interruptAfter(40) });
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  // What it imports is code as well.
  writeFileSync(join(own, "part.ts"), "export const share = 0.6;\n");
  const other = await runFlame("verify", join(own, "whole"), "--rerun");
  assert.equal(other.code, 2);
  assert.match(other.err, /the run was made with other code, [0-9a-f]{64}\)/);
});

test("a folder that others may write to vouches for nothing, nor does one inside of somebody's folder", {
  skip: process.getuid === undefined && needs.permissions,
}, async () => {
  const out = copyOf(half);
  const digest = ownCodeDigest(join(out, "scenario.ts"));
  const load = (consent: object) => loadRun(out, reloadWith(consent));
  await load({ trustCode: digest });
  await load({});
  const store = join(folder, "state", "flame-sim", "trusted-code");
  assert.equal(readdirSync(store).length, 1);
  chmodSync(store, 0o777);
  await assert.rejects(load({}), ScenarioError);
  chmodSync(store, 0o700);
  await load({});
  process.env.XDG_STATE_HOME = "state";
  const home = process.env.HOME;
  process.env.HOME = folder;
  try {
    await assert.rejects(load({}), ScenarioError);
  } finally {
    process.env.HOME = home;
  }
});

test("a user at a terminal is asked once, with file and digest; anything but yes executes nothing", async () => {
  const out = copyOf(half);
  const asked: string[] = [];
  const answer = (yes: boolean) => ({
    ask: async (question: string) => {
      asked.push(question);
      return yes;
    },
  });
  await assert.rejects(loadRun(out, reloadWith(answer(false))), ScenarioError);
  assert.equal(existsSync(mark()), false, "the code ran");
  await loadRun(out, reloadWith(answer(true)));
  await loadRun(out, reloadWith(answer(false)));
  assert.equal(asked.length, 2);
  assert.ok(
    asked[0]!.includes(join(out, "scenario.ts")) && asked[0]!.includes(ownCodeDigest(join(out, "scenario.ts"))),
  );
});

test("the name of a stranger's file cannot disguise the question", async () => {
  const out = copyOf(half);
  const sly = "sly\u001b[2K\u202e.ts";
  cpSync(join(out, "scenario.ts"), join(out, sly));
  const record = join(out, "run.json");
  const named = JSON.parse(readFileSync(record, "utf8")) as { source: { file: string } };
  writeFileSync(record, JSON.stringify({ ...named, source: { ...named.source, file: join(out, sly) } }));
  const said = await runFlame("resume", out);
  assert.equal(said.code, 2);
  assert.ok(said.err.includes("sly·[2K·.ts"), said.err);
});

test("changes that no command line makes are refused before anything is executed", async () => {
  const out = copyOf(half);
  const record = join(out, "run.json");
  writeFileSync(record, readFileSync(record, "utf8").replace('"changes": {}', '"changes": { "set": "a=1" }'));
  const digest = ownCodeDigest(join(out, "scenario.ts"));
  await assert.rejects(loadRun(out, reloadWith({ trustCode: digest })), InputError);
  assert.equal(existsSync(mark()), false, "the code ran");
});

test("too short a digest is a wrong usage", async () => {
  const said = await runFlame("resume", half, "--trust-code", "0");
  assert.equal(said.code, 2);
  assert.match(said.err, /expected the first 12 hexadecimal digits of a SHA-256, or more/);
});
