/** `flame stress`, `calibrate` and `timeline` as a user meets them, and the mistakes of scenarios about heterogeneity. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readStudy } from "../../src/study/study.ts";
import { runFlame } from "../support/command-line.ts";
import { start } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { shape, threeTiers } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const model = tinyModel(folder);

let files = 0;

function scenario(changes: Readonly<Record<string, unknown>> = {}): string {
  const path = join(folder, `scenario-${files++}.json`);
  const fields = {
    name: "stressed",
    timingOnly: true,
    model: shape,
    data: { sizes: { examplesPerClient: { type: "log-normal", mean: 40, cv: 0.5 }, tokensPerExample: 60 } },
    fleet: threeTiers,
    rounds: { count: 5, cohort: 8, deadline: 60_000, minUpdates: 2 },
    ...changes,
  };
  writeFileSync(path, JSON.stringify(fields));
  return path;
}

const training = () =>
  scenario({
    timingOnly: false,
    model,
    lora: { rank: 2, alpha: 4 },
    data: { source: { type: "instructions", examples: 200 }, maxTokens: 96 },
    rounds: { count: 1, cohort: 3, deadline: 60_000 },
    training: { batchSize: 4, maxSteps: 2 },
    evaluationExamples: 8,
  });

const out = () => join(folder, `out-${files++}`);
const cellsIn = (path: string): string[] => readFileSync(join(path, "cells.jsonl"), "utf8").trimEnd().split("\n");
/** One cell for each seed. */
const still = ["--dropout", "0"];
const matrix = ["--workers", "1", "--policy", "synchronous,fedbuff", "--dropout", "0,0.5", "--seeds", "2"];

test("a matrix is run, tabled and plotted", async () => {
  const into = out();
  const { code, out: said, err } = await runFlame("stress", scenario(), ...matrix, "--out", into);
  assert.equal(code, 0, err);
  assert.match(said, /8 cells/);
  assert.match(said, /^dropout 50 % +fedbuff +\S+/m);
  assert.equal(cellsIn(into).length, 8);
  assert.match(readFileSync(join(into, "report.html"), "utf8"), /Clients heard at least once by dropout/);
});

test("what was run is not run again, and a larger matrix runs only what is new", async () => {
  const [path, into] = [scenario(), out()];
  await runFlame("stress", path, ...matrix, "--out", into);
  const cells = cellsIn(into);
  const again = await runFlame("stress", path, ...matrix, "--out", into);
  assert.match(again.out, /8 cells, 8 of them done before/);
  assert.deepEqual(cellsIn(into), cells);
  const more = await runFlame("stress", path, ...matrix.with(-1, "3"), "--out", into);
  assert.match(more.out, /12 cells, 8 of them done before/);
  assert.deepEqual(cellsIn(into).slice(0, 8), cells);
  assert.equal(cellsIn(into).length, 12);
});

test("neither the number of processes nor which cell is ready first reaches a result", async () => {
  const path = scenario();
  const reports = new Set<string>();
  const cells = new Set<string>();
  for (const workers of ["1", "3"]) {
    const into = out();
    await runFlame("stress", path, ...matrix.with(1, workers), "--out", into);
    cells.add(cellsIn(into).sort().join("\n"));
    reports.add(readFileSync(join(into, "report.html"), "utf8").replaceAll(into, "OUT"));
  }
  assert.equal(cells.size, 1);
  assert.equal(reports.size, 1);
});

test("Ctrl-C keeps what is done and says how to go on", {
  skip: process.platform === "win32" && needs.signals,
}, async () => {
  const into = out();
  // Long enough that a signal finds it at work.
  const path = scenario({ rounds: { count: 400, cohort: 16, deadline: 60_000 } });
  const words = ["stress", path, ...still, "--seeds", "60", "--workers", "2", "--json", "--out", into];
  const { process: child, until, ended } = start(words);
  await until(/"event":"cell"/);
  child.kill("SIGINT");
  const { code, out: said } = await ended;
  assert.equal(code, 130);
  const done = cellsIn(into);
  assert.ok(done.length > 0 && done.length < 60, `${done.length} cells`);
  assert.match(said, new RegExp(`"event":"ended".*"cells":${done.length},"of":60`));
  const { code: resumed } = await runFlame(
    "stress",
    path,
    ...still,
    "--seeds",
    `${done.length}`,
    "--workers",
    "1",
    "--quiet",
    "--out",
    into,
  );
  assert.equal(resumed, 0);
  assert.equal(new Set(cellsIn(into)).size, cellsIn(into).length);
  assert.deepEqual(cellsIn(into).slice(0, done.length), done);
});

test("an interrupted matrix names the command that goes on", async () => {
  const path = scenario({ rounds: { count: 400, cohort: 16, deadline: 60_000 } });
  const {
    process: child,
    until,
    ended,
  } = start(["stress", path, ...still, "--seeds", "60", "--workers", "1", "--out", out()]);
  await until(/60 cells/);
  child.kill("SIGINT");
  const { code, out: said } = await ended;
  assert.equal(code, 130);
  assert.match(said, /\d+ of 60 cells are done; this goes on:\n {2}npx flame stress .* --seeds 60 --out/);
});

test("a cell in which an invariant breaks fails the test, with the command that shows it again", async () => {
  const path = join(folder, "broken.ts");
  writeFileSync(
    path,
    `import { defineScenario, synchronous } from "flame-sim";
    const sound = synchronous({ cohort: 4, deadline: 60_000 });
    // Says nothing about the third update of a round.
    const policy = {
      ...sound, spec: { type: "forgetful", deadline: 60_000 }, name: "forgetful",
      onUpdate: (view, arrival) => (view.accepted === 2 ? [] : sound.onUpdate(view, arrival)),
    };
    export default defineScenario({
      name: "broken", timingOnly: true,
      data: { sizes: { examplesPerClient: 10, tokensPerExample: 10 } },
      fleet: [{ name: "a", clients: 8, budget: 1, tokensPerSecond: 100, uplink: 1e6 }],
      rounds: { count: 2, cohort: 4, policy },
    });`,
  );
  const {
    code,
    out: said,
    err,
  } = await runFlame("stress", path, "--dropout", "0,1", "--seeds", "3,", "--workers", "1", "--out", out());
  assert.equal(code, 1, err);
  assert.match(said, /broken .*, dropout 0 %, seed 3: .*says nothing about participation \d+/);
  assert.match(said, /reproduce: npx flame run .*broken\.ts --seed 3 --set 'fleet\[0\]\.dropout=0'/);
  // With nobody answering nothing is forgotten.
  assert.doesNotMatch(said, /broken .*, dropout 100 %/);
});

test("cells that train are the same as runs of their own", async () => {
  const [path, into] = [training(), out()];
  const words = ["stress", path, "--strategy", "flame,fedavg", "--dropout", "0,0.4", "--seeds", "2,", "--workers", "2"];
  const { code, out: said, err } = await runFlame(...words, "--target", "4:99", "--out", into);
  assert.equal(code, 0, err);
  assert.match(said, /Held-out loss\nwhere +method +k = 4/);
  const alone = join(folder, "alone");
  const changes = [
    "--set",
    'strategy={"type":"fedavg"}',
    ...[0, 1, 2].flatMap((i) => ["--set", `fleet[${i}].dropout=0.4`]),
  ];
  await runFlame("run", path, "--seed", "2", ...changes, "--workers", "1", "--quiet", "--out", alone);
  const { digest } = JSON.parse(readFileSync(join(alone, "result.json"), "utf8")) as { digest: string };
  const last = JSON.parse(readFileSync(join(alone, "metrics.jsonl"), "utf8").trimEnd().split("\n").at(-1)!) as object;
  const cell = readStudy(into).cells.find(
    ({ method, condition }) => method === "fedavg" && condition === "dropout 40 %",
  );
  assert.equal(cell!.result!.digest, digest);
  assert.deepEqual(cell!.result!.cell.evaluations, (last as { evaluations: unknown }).evaluations);
});

test("runs that are kept are whole folders with reports, and cells known without theirs are run again", async () => {
  const [path, into] = [training(), out()];
  const words = ["stress", path, ...still, "--seeds", "2,", "--workers", "1", "--out", into];
  await runFlame(...words);
  const [before] = cellsIn(into);
  const { code, out: said, err } = await runFlame(...words, "--keep-runs");
  assert.equal(code, 0, err);
  assert.match(said, /^1 cell$/m);
  assert.equal(cellsIn(into).at(-1), before);
  const { key } = JSON.parse(before!) as { key: string };
  const kept = join(into, "runs", key);
  for (const file of ["report.html", "timeline.json", "result.json"]) assert.ok(existsSync(join(kept, file)), file);
  assert.equal((await runFlame("verify", kept)).code, 0);
  assert.equal(readStudy(into).cells[0]!.run, kept);
  assert.match((await runFlame(...words, "--keep-runs")).out, /1 of them done before/);
});

test("a cell without hope is given up, for any number of processes at the same round, and counted as failed", async () => {
  const path = scenario({
    ...{ timingOnly: false, model, lora: { rank: 2, alpha: 4 }, rounds: { count: 4, cohort: 3 } },
    data: { source: { type: "instructions", examples: 200 }, maxTokens: 96 },
    ...{ training: { batchSize: 4, maxSteps: 2 }, evaluationExamples: 8 },
  });
  // Products of what is sent overflow float32.
  const wild = "scaling:factor=1e36:share=1";
  const words = ["compare", path, "--attackers", `none,${wild}`, "--seeds", "1", "--stop-hopeless"];
  const cells = new Set<string>();
  for (const workers of ["1", "2"]) {
    const into = out();
    const { code, out: said, err } = await runFlame(...words, "--workers", workers, "--out", into);
    assert.equal(code, 0, err);
    assert.match(said, /1 of 2 runs failed and .* in no mean of quality: flame\S*, scaling:\S+, seed 1 \(stopped\)/);
    cells.add(cellsIn(into).sort().join("\n"));
  }
  assert.equal(cells.size, 1);
});

test("unless told, every matrix has a folder of its own, and one of something else is left alone", async () => {
  const [path, into] = [scenario(), out()];
  const words = ["sweep", path, "--vary", "rounds.minUpdates=1,2", "--seeds", "1,", "--workers", "1"];
  const { out: said } = await runFlame(...words);
  const [folderOf] = /runs\/sweep-stressed-\d{8}T\d{6}/.exec(said) ?? [];
  assert.ok(folderOf !== undefined, said);
  rmSync(folderOf, { recursive: true });
  await runFlame(...words, "--out", into);
  const other = await runFlame("compare", scenario({ name: "other" }), "--out", into);
  assert.equal(other.code, 2);
  assert.match(other.err, /holds a study of stressed, expected one of other/);
  const nothing = await runFlame("sweep", path, "--out", out());
  assert.match(nothing.err, /a sweep varies a field: --vary/);
});

test("a mistake in the matrix is found before anything runs", async () => {
  const refuse = async (message: RegExp, ...words: string[]) => {
    const { code, err } = await runFlame("stress", scenario(), ...words, "--out", out());
    assert.equal(code, 2, err);
    assert.match(err, message);
  };
  await refuse(/expected rates in \[0, 1\]/, "--dropout", "0,1.2");
  await refuse(/expected a number of seeds/, "--seeds", "many");
  await refuse(/strategy/, "--strategy", "flame,fedpox");
  await refuse(/expected budget:loss/, "--target", "8");
  await refuse(/expected field=values/, "--vary", "rounds.minUpdates");
  await refuse(/expected a number of combinations/, "--sample", "some");
  await refuse(/rounds.*minUpdate\b/s, "--vary", "rounds.minUpdate=1,2");
});

test("other tasks are calibrated in their own units", async () => {
  const to = join(folder, "images.json");
  const { code, err, out: said } = await runFlame("calibrate", "vision", "--repeats", "1", "--to", to);
  assert.equal(code, 0, err);
  assert.match(said, /images\/s/);
  const refused = await runFlame("calibrate", "vision", "--budgets", "9", "--to", to);
  assert.match(refused.err, /--budgets has 9, but the network has \d of them/);
});

test("a calibration is measured and can be planned with", async () => {
  const [path, to] = [training(), join(folder, "calibration.json")];
  const measured = await runFlame("calibrate", path, "--repeats", "1", "--to", to);
  assert.equal(measured.code, 0, measured.err);
  const { budgets } = JSON.parse(readFileSync(to, "utf8")) as {
    budgets: { budget: number; tokensPerSecond: number }[];
  };
  assert.deepEqual(
    budgets.map(({ budget }) => budget),
    [4, 2, 1],
  );
  assert.ok(budgets.every(({ tokensPerSecond }) => tokensPerSecond > 0));
  const planned = await runFlame("run", path, "--timing-only", "--calibration", to, "--quiet", "--out", out());
  assert.equal(planned.code, 0, planned.err);
  const missing = await runFlame("run", path, "--timing-only", "--calibration", join(folder, "none.json"));
  assert.equal(missing.code, 2);
  assert.match(missing.err, /cannot read .*none\.json/);
});

test("a run's timeline is written anew, with a word on how to open it", async () => {
  const into = out();
  await runFlame("run", scenario(), "--quiet", "--out", into);
  const timeline = join(into, "timeline.json");
  const first = readFileSync(timeline, "utf8");
  writeFileSync(timeline, "old");
  const { code, out: said } = await runFlame("timeline", into);
  assert.equal(code, 0);
  assert.match(said, /ui\.perfetto\.dev/);
  assert.equal(readFileSync(timeline, "utf8"), first);
  const nowhere = await runFlame("timeline", join(folder, "nowhere"));
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.err, /is not a run folder/);
});

const mistakes: [what: string, changes: object, message: RegExp][] = [
  [
    "a probability of 1.2",
    { world: { faults: { upload: 1.2 } } },
    /world\.faults\.upload is 1\.2, expected a probability/,
  ],
  [
    "a trace that ends before it starts",
    { world: { availability: [{ type: "trace", period: 100, devices: [[[50, 20]]], assignment: "cycle" }] } },
    /world\.availability\[0\]\.devices\[0\]\[0\] is \[50,20\], expected an end after its start/,
  ],
  [
    "an outage of a region that does not exist",
    {
      regions: [{ name: "north", share: 1 }],
      world: { timeline: [{ type: "at", at: 1, effect: { type: "outage", target: "region-9", duration: 10 } }] },
    },
    /world\.timeline\[0\]\.effect\.target is "region-9", expected one of all, phone, laptop, edge, north/,
  ],
  [
    "a quorum that can never be met",
    { rounds: { count: 1, cohort: 4, minUpdates: 5 } },
    /rounds\.minUpdates is 5, but a round ends with 4 updates/,
  ],
  [
    "a policy for more clients than there are",
    { rounds: { count: 1, cohort: 4, policy: { type: "fedbuff", concurrency: 25 } } },
    /rounds\.policy\.concurrency is 25, expected at most 24, the clients of the fleet/,
  ],
  [
    "an attack on a tier that does not exist",
    { attackers: [{ share: 1, tier: "tv", attack: { type: "sign-flip" } }] },
    /attackers\[0\]\.tier is "tv", expected one of phone, laptop, edge/,
  ],
  [
    "an effect that ends before it begins",
    { world: { timeline: [{ type: "between", from: 9, until: 3, effect: { type: "server-restart" } }] } },
    /world\.timeline\[0\]\.until is 3, expected later than from, which is 9/,
  ],
  [
    "a link without bandwidth",
    { fleet: [{ name: "a", clients: 8, budget: 1, tokensPerSecond: 1, uplink: 0 }] },
    /fleet\[0\]\.\w+ is 0, expected more than 0/,
  ],
  ["a deadline of 0", { rounds: { count: 1, cohort: 4, deadline: 0 } }, /rounds\.deadline is 0, expected more than 0/],
  [
    "availability by labels that nobody has",
    { world: { availability: [{ type: "data", rule: "YC", beta: 0.5, slot: 1000 }] } },
    /availability\[0\]\.rule is "YC", expected a rule that needs no labels/,
  ],
];

for (const [what, changes, message] of mistakes) {
  test(`${what} is found before anything runs, with field, expectation and value`, async () => {
    const into = out();
    const { code, err } = await runFlame("run", scenario(changes as Record<string, unknown>), "--out", into);
    assert.equal(code, 2, err);
    assert.match(err, message);
    assert.throws(() => readFileSync(into), /ENOENT/);
  });
}
