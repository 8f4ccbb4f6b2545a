/** `flame verify` and `flame diff`: what they say of a run that is as it should be, and of one that is not. */
import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { run } from "../../src/run/run.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { interruptAfter } from "../support/run-folders.ts";
import { trainedRun } from "../support/trained-run.ts";
import { stormy } from "../support/weather.ts";

const folder = folderOfFile();
let good = "";
let trained = "";
before(async () => {
  good = join(folder, "good");
  await run(stormy(3), { out: good });
  trained = (await trainedRun()).out;
});

let copies = 0;
/** A copy of the run with one of its files changed. */
function changed(original: string, file: string, change: (text: string) => string): string {
  const copy = join(folder, `copy-${copies++}`);
  cpSync(original, copy, { recursive: true });
  const path = join(copy, file);
  const text = readFileSync(path, "latin1");
  assert.notEqual(change(text), text, "the change changes something");
  writeFileSync(path, change(text), "latin1");
  return copy;
}

test("a run that is what it claims to be is said to be, and what was not checked is said as well", async () => {
  const said = await runFlame("verify", good);
  assert.equal(said.code, 0, said.out);
  assert.match(said.out, /holds {2}the event log has the digest that the result states: \d+ events/);
  assert.match(said.out, /holds {2}clients have one part at a time, and no more .* than were heard: \d+ events/);
  assert.match(said.out, /holds {2}events, participations and rounds tell the same story: 5 rounds/);
  assert.match(said.out, /— {6}the adapter has the digest that the result states: there is none/);
  assert.match(said.out, /holds {2}the files are those that the run left when it had finished: result\.json, scenario/);
  assert.match(said.out, /not checked: that these events follow from the scenario; --rerun/);
  for (const name of ["report.html", "timeline.json"]) writeFileSync(join(good, name), "of the rest");
  const more = await runFlame("verify", good);
  assert.match(more.out, /not checked: report\.html and timeline\.json, which are made from the rest/);
  for (const name of ["report.html", "timeline.json"]) rmSync(join(good, name));
});

test("a run that kept no event log is verified without one", async () => {
  const quiet = join(folder, "quiet");
  await run(stormy(3, { trace: "digest" }), { out: quiet });
  const said = await runFlame("verify", quiet);
  assert.equal(said.code, 0, said.out);
  assert.match(said.out, /— {6}the event log has the digest.*: the scenario kept none: its trace is "digest"/);
  assert.match(
    said.out,
    /holds {2}events, participations and rounds tell the same story: 5 rounds, \d+ participations/,
  );
  const shorter = changed(quiet, "participations.jsonl", (text) => text.slice(text.indexOf("\n") + 1));
  assert.match((await runFlame("verify", shorter)).out, /fails {2}events, participations and rounds tell the same/);
});

const changes: [what: string, run: "good" | "trained", file: string, from: RegExp, to: string, found: string][] = [
  ["bytes of a round", "good", "metrics.jsonl", /"uploadBytes":[1-9]\d*/, '"uploadBytes":17', "metrics.jsonl"],
  ["a loss", "trained", "metrics.jsonl", /"loss":\d/, '"loss":0', "metrics.jsonl"],
  [
    "an instant of a client",
    "good",
    "participations.jsonl",
    /"trainedAt":\d+/,
    '"trainedAt":1',
    "participations.jsonl",
  ],
  ["the scenario", "good", "scenario.json", /"seed": 3/, '"seed": 4', "scenario.json"],
  ["what was found", "good", "result.json", /"rounds": 4/, '"rounds": 5', "result.json"],
  ["a rescaler", "trained", "adapter/rescalers.json", /\d\n/, "0\n", "adapter/rescalers.json"],
];
for (const [what, original, file, from, to, found] of changes) {
  test(`a change to ${what} is noticed`, async () => {
    const copy = changed(original === "good" ? good : trained, file, (text) => text.replace(from, to));
    const said = await runFlame("verify", copy);
    assert.equal(said.code, 1);
    assert.ok(said.out.includes(`finished: ${found} has been changed`), said.out);
  });
}

test("a finished run without its result, or with a file less, is noticed", async () => {
  const [unsaid, less] = [good, good].map((original) => changed(original, "diagnostics.log", (text) => `${text}\n`));
  rmSync(join(unsaid!, "result.json"));
  assert.match((await runFlame("verify", unsaid!)).out, /fails {2}the files are those.*: result\.json is missing/);
  rmSync(join(less!, "metrics.jsonl"));
  assert.match((await runFlame("verify", less!)).out, /fails {2}the files are those.*: metrics\.jsonl is missing/);
});

test("a run that trained is verified down to its adapter, and by running it again", async () => {
  const said = await runFlame("verify", trained, "--rerun", "--workers", "1");
  assert.equal(said.code, 0, said.out);
  assert.match(said.out, /holds {2}the adapter has the digest that the result states: \d+ values/);
  assert.match(said.out, /holds {2}the scenario gives these very bytes when it is run again/);
  assert.ok(!said.out.includes("not checked: that these events"));
});

test("one digit in the event log is noticed", async () => {
  const said = await runFlame(
    "verify",
    changed(good, "events.jsonl", (text) => text.replace('"bytes":1', '"bytes":2')),
  );
  assert.equal(said.code, 1);
  assert.match(said.out, /fails {2}the event log has the digest that the result states: the log gives [0-9a-f]{64}/);
});

test("an event log that breaks the rules of every federation is noticed", async () => {
  const copy = changed(good, "events.jsonl", (text) => text.replace(/.*"type":"turn".*"message":"update".*\n/, ""));
  const said = await runFlame("verify", copy);
  assert.equal(said.code, 1);
  assert.match(said.out, /fails {2}clients have one part at a time.*: c-\d+ is (counted|invited) at \d+, and /);
});

test("a round that was made better than it was is noticed", async () => {
  const better = changed(good, "metrics.jsonl", (text) => text.replace(/"dropped":[1-9]\d*/, '"dropped":0'));
  const said = await runFlame("verify", better);
  assert.equal(said.code, 1);
  assert.match(said.out, /fails {2}events, participations and rounds tell the same story.*dropped in metrics/);
});

test("a participation that was changed is noticed", async () => {
  const said = await runFlame(
    "verify",
    changed(good, "participations.jsonl", (text) => text.replace('"outcome":"dropped"', '"outcome":"counted"')),
  );
  assert.equal(said.code, 1);
  assert.match(said.out, /participation \d+ was counted, and by the event log dropped/);
});

test("an adapter with one flipped bit is noticed", async () => {
  const said = await runFlame(
    "verify",
    changed(trained, "adapter/adapter_model.safetensors", (text) => {
      const last = String.fromCharCode(text.charCodeAt(text.length - 2) ^ 1);
      return `${text.slice(0, -2)}${last}${text.slice(-1)}`;
    }),
  );
  assert.equal(said.code, 1);
  assert.match(said.out, /fails {2}the adapter has the digest that the result states: its values give [0-9a-f]{64}/);
});

test("a damaged checkpoint is noticed", async () => {
  const [name] = readdirSync(join(good, "checkpoints"));
  const said = await runFlame(
    "verify",
    changed(good, join("checkpoints", name!), (text) => `${text.slice(0, -1)}!`),
  );
  assert.equal(said.code, 1);
  assert.match(said.out, /fails {2}every checkpoint is whole: checkpoint .* is damaged/);
});

test("a run with another seed does not give these bytes", async () => {
  const other = changed(good, "scenario.json", (text) => text.replace('"seed": 3', '"seed": 4'));
  const said = await runFlame("verify", other, "--rerun");
  assert.equal(said.code, 1);
  assert.match(
    said.out,
    /fails {2}the scenario gives these very bytes.*first differences: event \d+, row \d+ of metrics/,
  );
});

test("a run that has not finished is checked as far as there is anything, and a forced one is remarked on", async () => {
  const half = join(folder, "half");
  await run(stormy(3), { out: half, signal: interruptAfter(10) });
  const said = await runFlame("verify", half);
  assert.equal(said.code, 0, said.out);
  assert.match(said.out, /the run has not finished \(interrupted\): only what there is was checked/);
  const forced = changed(good, "run.json", (text) =>
    text.replace('"continuedDespite": []', '"continuedDespite": ["its base model has changed since"]'),
  );
  assert.match(
    (await runFlame("verify", forced)).out,
    /continued with --force or elsewhere: its base model has changed/,
  );
});

test("what is no run is refused", async () => {
  const said = await runFlame("verify", join(folder, "nowhere"));
  assert.equal(said.code, 2);
  assert.match(said.err, /is not a run folder/);
});

test("two runs of one scenario are the same", async () => {
  const again = join(folder, "again");
  await run(stormy(3), { out: again });
  const said = await runFlame("diff", good, again);
  assert.equal(said.code, 0);
  assert.match(said.out, /the runs are the same: scenario, events, metrics, participations, adapter/);
});

test("where two runs part is shown with what came before, field by field", async () => {
  const other = changed(good, "events.jsonl", (text) => {
    const lines = text.split("\n");
    lines[40] = lines[40]!.replace(/"t":\d+/, '"t":90061');
    return lines.join("\n");
  });
  const said = await runFlame("diff", good, other);
  assert.equal(said.code, 1);
  assert.match(said.out, /first event that differs: 41 at \S+\n( {4}\{.*\}\n){3} {2}a \{"t":.*\n {2}b \{"t":90061,/);
  const worse = changed(good, "metrics.jsonl", (text) => text.replace('"counted":', '"counted":1'));
  assert.match(
    (await runFlame("diff", good, worse)).out,
    /first row of metrics that differs: round 0\n {2}counted {2}0 → 10/,
  );
});

test("runs of different scenarios show first how these differ; for scripts as JSON", async () => {
  const other = join(folder, "other");
  await run(stormy(3, { seed: 99 }), { out: other });
  const said = await runFlame("diff", good, other, "--json");
  assert.equal(said.code, 1);
  const { same, scenario, events } = JSON.parse(said.out) as Record<string, unknown>;
  assert.equal(same, false);
  assert.deepEqual(scenario, [{ path: "seed", a: 3, b: 99 }]);
  assert.ok((events as { line: number }).line >= 1);
});

test("a run that ends earlier parts from the other where it ends", async () => {
  const shorter = changed(good, "events.jsonl", (text) => text.slice(0, text.lastIndexOf("\n", text.length - 2) + 1));
  assert.match((await runFlame("diff", good, shorter)).out, / {2}b \(has ended\)/);
});
