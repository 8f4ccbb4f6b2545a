/** A run whose model diverges says so everywhere, and blames no client for it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { trainedRun } from "../support/trained-run.ts";

const folder = folderOfFile();
const out = join(folder, "run");
/** Half of the clients send what is finite and absurd. */
const attack = [
  ...["--set", 'attackers=[{"share":0.5,"attack":{"type":"sign-flip","factor":1e38}}]'],
  ...["--set", 'strategy={"type":"fedavg"}', "--set", "expect=[]", "--workers", "1"],
];
let scenario = "";
before(async () => {
  scenario = (await trainedRun()).file;
});

test("a run that diverges has an exit code of its own, and names the round in output, result and report", async () => {
  const { code, out: said } = await runFlame("run", scenario, ...attack, "--out", out);
  assert.equal(code, 4, said);
  const [, round] = /the model has diverged: after round (\d+) its held-out loss is/.exec(said) ?? [];
  const result = JSON.parse(readFileSync(join(out, "result.json"), "utf8")) as { divergedIn: number };
  assert.equal(String(result.divergedIn), round);
  const report = readFileSync(join(out, "report.html"), "utf8");
  assert.match(report, new RegExp(`The model diverged: after round ${round}`));
  assert.doesNotMatch(report, /NaN/);
  assert.equal((await runFlame("resume", out)).code, 4);
});

test("an honest client is not called not finite because its model was", () => {
  const rows = readFileSync(join(out, "participations.jsonl"), "utf8").trimEnd().split("\n");
  const reasons = rows.flatMap((row) => (JSON.parse(row) as { reason?: string }).reason ?? []);
  assert.ok(reasons.includes("model-diverged"), reasons.join(", "));
  assert.ok(!reasons.includes("not-finite"), reasons.join(", "));
});

test("a scenario that allows it has exit code 0, and is told all the same", async () => {
  const allowed = ["--set", "training.mayDiverge=true", "--out", join(folder, "allowed")];
  const { code, out: said } = await runFlame("run", scenario, ...attack, ...allowed);
  assert.equal(code, 0, said);
  assert.match(said, /the model diverged in round \d/);
});
