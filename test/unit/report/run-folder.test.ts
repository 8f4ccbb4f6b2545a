import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { InputError, MachineError } from "../../../src/base/errors.ts";
import { writeReport } from "../../../src/report/report.ts";
import { readParticipations, readRun } from "../../../src/report/run-folder.ts";
import { fakeRunFolder } from "../../support/report-run-folder.ts";

function folder(t: TestContext): string {
  const path = fakeRunFolder({ rounds: 3 });
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

const refuses = (action: () => unknown, message: RegExp) =>
  assert.throws(action, (error) => error instanceof InputError && message.test(error.message));

test("a run folder without metrics or scenario is refused by the name of the file", (t) => {
  for (const file of ["metrics.jsonl", "scenario.json"]) {
    const path = folder(t);
    rmSync(join(path, file));
    refuses(() => readRun(path), new RegExp(`has no ${file.replace(".", "\\.")}`));
  }
});

test("a line that is not JSON is named with its file and number", (t) => {
  const path = folder(t);
  appendFileSync(join(path, "metrics.jsonl"), '{"round": 4, "started');
  refuses(() => readRun(path), /^metrics\.jsonl line 5 is not JSON: /);
});

test("a field of the wrong kind is named with its line and path", (t) => {
  const path = folder(t);
  const [, ...rows] = readFileSync(join(path, "metrics.jsonl"), "utf8").trimEnd().split("\n");
  const row = JSON.parse(rows[0]!);
  row.tiers[2].invited = "many";
  writeFileSync(join(path, "metrics.jsonl"), `${JSON.stringify(row)}\n`);
  refuses(() => readRun(path), /^metrics\.jsonl line 1: tiers\[2\]\.invited is "many", expected a number/);
});

test("rounds that go back are refused", (t) => {
  const path = folder(t);
  const text = readFileSync(join(path, "metrics.jsonl"), "utf8");
  appendFileSync(join(path, "metrics.jsonl"), text.split("\n")[2]!);
  refuses(() => readRun(path), /line 5: round 2 follows round 3/);
});

test("empty metrics are refused", (t) => {
  const path = folder(t);
  writeFileSync(join(path, "metrics.jsonl"), "");
  refuses(() => readRun(path), /metrics\.jsonl has no rows/);
});

test("a damaged participation is named with its line", (t) => {
  const path = folder(t);
  appendFileSync(join(path, "participations.jsonl"), '{"participation": 48}\n');
  refuses(() => [...readParticipations(path)], /^participations\.jsonl line 49 has 10 mistakes\n {2}client is missing/);
});

test("a damaged result and a damaged scenario are named", (t) => {
  for (const file of ["result.json", "scenario.json"]) {
    const path = folder(t);
    writeFileSync(join(path, file), "[]");
    refuses(() => readRun(path), new RegExp(`^${file.replace(".", "\\.")}: .*expected an object`));
  }
});

test("an unfinished run, without result.json, is read, and reproduced from its scenario", (t) => {
  const path = folder(t);
  rmSync(join(path, "result.json"));
  const run = readRun(path);
  assert.equal(run.digest, null);
  assert.equal(run.reproduce, "npx flame run scenario.json");
});

test("fields that a later version adds do no harm, nor does a budget that is a law", (t) => {
  const path = folder(t);
  const scenario = JSON.parse(readFileSync(join(path, "scenario.json"), "utf8"));
  scenario.fleet[0].budget = { type: "fits", max: 8 };
  scenario.weather = { rain: true };
  writeFileSync(join(path, "scenario.json"), JSON.stringify(scenario));
  const { tiers, clients } = readRun(path);
  assert.deepEqual(tiers[0], { name: "workstation", clients: 4, budget: null });
  assert.equal(clients, 32);
});

test("a line longer than one read of the file is one line", (t) => {
  const path = folder(t);
  // Three bytes each in UTF-8, so that reads also end inside a character.
  const reason = "…".repeat(700_000);
  const first = readFileSync(join(path, "participations.jsonl"), "utf8").split("\n")[0]!;
  appendFileSync(join(path, "participations.jsonl"), JSON.stringify({ ...JSON.parse(first), reason }));
  assert.equal([...readParticipations(path)].at(-1)!.reason, reason);
});

test("a report that cannot be written is the machine's failure", (t) => {
  const path = folder(t);
  mkdirSync(join(path, "report.html"));
  assert.throws(() => writeReport(path), MachineError);
});

test("a strategy is told by its name and plain options, and one of the author's as such", (t) => {
  const path = folder(t);
  assert.equal(readRun(path).strategy, "flame(frequencyExponent=2)");
  const scenario = JSON.parse(readFileSync(join(path, "scenario.json"), "utf8"));
  const write = (fields: object) =>
    writeFileSync(join(path, "scenario.json"), JSON.stringify({ ...scenario, ...fields }));
  write({ strategy: { type: "fedavg", own: [1] } });
  assert.equal(readRun(path).strategy, "fedavg");
  write({ own: ["strategy"] });
  assert.equal(readRun(path).strategy, "own strategy");
});
