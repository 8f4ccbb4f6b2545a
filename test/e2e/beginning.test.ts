/** What somebody types who has nothing yet: init, list, help. */
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { loadScenario } from "../../src/study/load-scenario.ts";
import { runFlame } from "../support/command-line.ts";
import { start } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";

const folder = folderOfFile();

test("flame init makes a folder whose scenario runs at once, and leaves one that is not empty alone", async () => {
  const own = join(folder, "own");
  assert.equal((await runFlame("init", own)).code, 0);
  const said = await runFlame("run", join(own, "scenario.ts"), "--timing-only", "--out", join(folder, "runs", "first"));
  assert.equal(said.code, 0, said.err);
  assert.match(said.out, /two-tiers[\s\S]*finished: 4 rounds/);
  assert.equal((await loadScenario(join(own, "scenario.ts"))).scenarios[0]!.data.timingOnly, false);
  const { scripts } = JSON.parse(readFileSync(join(own, "package.json"), "utf8"));
  assert.equal(scripts.start, "flame run scenario.ts");
  assert.ok(existsSync(join(own, "tsconfig.json")));
  const again = await runFlame("init", own);
  assert.equal(again.code, 2);
  assert.match(again.err, /own is not empty/);
});

test("flame list shows runs with state, results and age, and the scenarios there are", async () => {
  const broken = join(folder, "runs", "broken");
  // One round is too few for what it claims.
  assert.equal((await runFlame("run", "churn", "--rounds", "1", "--out", broken, "--quiet")).code, 3);
  writeFileSync(join(broken, "churn", "run.json"), "{");
  const killed = join(broken, "killed");
  cpSync(join(folder, "runs", "first"), killed, { recursive: true });
  const record = readFileSync(join(killed, "run.json"), "utf8");
  writeFileSync(join(killed, "run.json"), record.replace('"finished"', '"running"'));
  // No process has this number.
  const owner = { process: 2 ** 30, started: null, machine: hostname() };
  writeFileSync(join(killed, "lock"), JSON.stringify(owner));
  const { out, code } = await runFlame("list", join(folder, "runs"));
  assert.equal(code, 0);
  assert.match(out, /first +finished +4 +· +· +0\/0 +\d+s/);
  assert.match(out, /\nquickstart +Does a fleet of unequal devices/);
  const { runs } = JSON.parse((await runFlame("list", join(broken), "--json")).out);
  const states = new Set(runs.map(({ state }: { state: string }) => state));
  assert.deepEqual(states, new Set(["finished", "unreadable", "cut off"]));
  assert.match((await runFlame("list", join(folder, "nowhere"))).out, /^no runs in/);
});

test("flame help says what a field of a scenario may be, and names those there are", async () => {
  const whole = await runFlame("help", "scenario");
  assert.match(whole.out, /seed +whole number ≥ 0; default 1\n/);
  assert.match(whole.out, /fleet +list of .*; must be given/);
  const { out } = await runFlame("help", "scenario", "rounds");
  assert.match(
    out,
    /^how many rounds, of whom[\s\S]*cohort +whole number ≥ 1; must be given\n +updates a round is made of/,
  );
  assert.match(out, /sampler +\{ type: oort \| .*uniform.* … \}; default \{"type":"uniform"\}/);
  assert.match((await runFlame("help", "scenario", "rounds.sampler")).out, /\ntype: "oort", .*\n +exploration/);
  const wrong = await runFlame("help", "scenario", "rounds.cohrt");
  assert.equal(wrong.code, 2);
  assert.match(
    wrong.err,
    /scenario\.rounds has no field cohrt; did you mean cohort\?\n +expected one of count, cohort/,
  );
  assert.match((await runFlame("help", "run")).out, /Usage: flame run[\s\S]*Examples:\n {2}npx flame run quickstart/);
  assert.match((await runFlame("help", "runn")).err, /no command runn; did you mean run\?/);
});

test("a shell is told at the tab key what may come next", async (t) => {
  const { out, code } = await start(["complete", "--", "comp"]).ended;
  assert.equal(code, 0);
  assert.match(out, /^compare\t.*\ncomplete\t/);
  let printed = "";
  t.mock.method(console, "log", (line: string) => {
    printed += `${line}\n`;
  });
  const first = async (...words: string[]): Promise<string | undefined> => {
    printed = "";
    assert.equal((await runFlame("complete", "--", ...words)).code, 0);
    return /^[^\t]*/.exec(printed)?.[0];
  };
  assert.equal(await first("run", "quick"), "quickstart");
  assert.equal(await first("compare", "quickstart", "--strategies", "flame,fedp"), "flame,fedprox");
  assert.equal(await first("run", "quickstart", "--set", "world.net"), "world.network");
  assert.match(printed, /^world\.network\twhat becomes of messages/);
  assert.equal((await runFlame("complete", "bash")).code, 0);
  assert.match(printed, /^complete .*flame$/m);
  const unknown = await runFlame("complete", "tcsh");
  assert.equal(unknown.code, 2);
  assert.match(unknown.err, /expected one of bash, zsh, fish, powershell, got tcsh/);
});
