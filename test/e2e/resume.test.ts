/** `flame resume` as its user meets it: what it goes on from, what it refuses, and what it leaves behind. */
import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import type { Provenance } from "../../src/folder/provenance.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../src/folder/saved-state.ts";
import { run } from "../../src/run/run.ts";
import { loadScenario, sourceOf } from "../../src/study/load-scenario.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { stormy } from "../support/weather.ts";

const folder = folderOfFile();
let straight = "";
let events = 0;
const everyRound = { checkpoints: { every: 1 } };
const scenario = () => stormy(1, everyRound);
const reproduce = "npx flame run stormy";
before(async () => {
  straight = join(folder, "straight");
  const { diagnostics } = await run(scenario(), { out: straight, reproduce });
  events = diagnostics.events!;
});

let count = 0;
/** A run that was interrupted when most of it was done. */
async function interrupted(): Promise<string> {
  const out = join(folder, `run-${count++}`);
  await run(scenario(), { out, reproduce, signal: interruptAfter(Math.floor(0.8 * events)) });
  return out;
}

const checkpointsOf = (out: string): string[] =>
  readdirSync(join(out, "checkpoints"))
    .filter((name) => name.endsWith(".ckpt"))
    .sort();

/** Makes it look as if the run had been made with something else. */
function remake(out: string, changes: Partial<Provenance>): void {
  for (const name of checkpointsOf(out)) {
    const path = join(out, "checkpoints", name);
    const { made, ...rest } = decodeCheckpoint(readFileSync(path), name);
    writeFileSync(path, encodeCheckpoint({ ...rest, made: { ...made, ...changes } }));
  }
}

test("a run goes on where it was and ends with the bytes of one that was not interrupted, report and all", async () => {
  const out = await interrupted();
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.match(said.out, /continues after round \d/);
  assertSameRun(out, straight, "resumed");
  for (const name of ["report.html", "timeline.json"]) assert.ok(existsSync(join(out, name)), name);
});

test("a run that has finished is left as it is, except for a report that is missing", async () => {
  const out = await interrupted();
  await runFlame("resume", out);
  rmSync(join(out, "report.html"));
  // Its process was killed before it let go of the lock. No process has this number.
  writeFileSync(join(out, "lock"), JSON.stringify({ process: 2 ** 30, started: "1", machine: hostname() }));
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.equal(existsSync(join(out, "lock")), false);
  assert.match(said.out, /has finished already/);
  assert.ok(existsSync(join(out, "report.html")));
  assertSameRun(out, straight, "resumed twice");
});

test("without a good checkpoint the run begins again, and says why", async () => {
  const out = await interrupted();
  for (const name of checkpointsOf(out)) appendFileSync(join(out, "checkpoints", name), "!");
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.equal(said.out.match(/is damaged: its bytes do not match their digest/g)!.length, 3);
  assert.ok(readdirSync(join(out, "checkpoints")).some((name) => name.endsWith(".ckpt.damaged")));
  assertSameRun(out, straight, "from the start");
});

test("a checkpoint that speaks of more events than are left is passed over", async () => {
  const out = await interrupted();
  const [, before] = checkpointsOf(out);
  const { files } = decodeCheckpoint(readFileSync(join(out, "checkpoints", before!)), before!);
  truncateSync(join(out, "events.jsonl"), files.events.bytes);
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.match(said.out, /cannot be used: .*events\.jsonl has \d+ bytes, expected at least \d+/);
  assertSameRun(out, straight, "from an older checkpoint");
});

test("a byte that the disk has changed in what was written is found, and an older checkpoint taken", async () => {
  const out = await interrupted();
  const events = join(out, "events.jsonl");
  const bytes = readFileSync(events);
  const newest = checkpointsOf(out).at(-1)!;
  const { files } = decodeCheckpoint(readFileSync(join(out, "checkpoints", newest)), newest);
  bytes[files.events.bytes - 2]! ^= 1;
  writeFileSync(events, bytes);
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.match(said.out, /cannot be used: the first \d+ bytes of .*events\.jsonl have changed/);
  assertSameRun(out, straight, "from before the damage");
});

test("a run without its checkpoints or its files begins again", async () => {
  for (const name of ["checkpoints", "metrics.jsonl", "events.jsonl"]) {
    const out = await interrupted();
    rmSync(join(out, name), { recursive: true });
    const said = await runFlame("resume", out);
    assert.equal(said.code, 0, said.err);
    assertSameRun(out, straight, `without its ${name}`);
  }
});

for (const [changes, reason] of [
  [{ program: "0.0.1" }, /it was written by flame-sim 0\.0\.1, this is/],
  [{ code: "of yesterday" }, /with other code or other libraries than this one's/],
  [{ engine: "tensorflow" }, /it trained with tensorflow, this run would use none/],
  [{ scenario: "another" }, /its scenario\.json has changed since/],
  [{ model: "another" }, /its base model has changed since/],
] as const) {
  test(`a run with another ${Object.keys(changes)[0]} is refused, and with --force continued and marked`, async () => {
    const out = await interrupted();
    remake(out, changes);
    const refused = await runFlame("resume", out);
    assert.equal(refused.code, 2);
    assert.match(refused.err, reason);
    assert.match(refused.err, /--force continues it anyway and marks the run/);
    const forced = await runFlame("resume", out, "--force");
    assert.equal(forced.code, 0, forced.err);
    const { continuedDespite } = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as {
      continuedDespite: string[];
    };
    assert.match(continuedDespite.join(), reason);
    assert.match((await runFlame("verify", out)).out, /continued with --force or elsewhere/);
  });
}

test("a run from another processor goes on with a remark", async () => {
  const out = await interrupted();
  remake(out, { machine: "x64, something else" });
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assert.match(said.out, /it trained on x64, something else, this is null/);
});

test("a scenario with functions goes on from the file it came from, as long as that is the same", async () => {
  const file = join(folder, "own.ts");
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(
    file,
    `import { crash, defineScenario, every, hook, minutes, seconds } from "flame-sim";
export default defineScenario({
  name: "own",
  timingOnly: true,
  model: { vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 },
  data: { sizes: { examplesPerClient: 40, tokensPerExample: 60 } },
  fleet: [{ name: "phone", clients: 9, budget: 1, tokensPerSecond: 300, uplink: 60_000 }],
  rounds: { count: 4, cohort: 4, deadline: minutes(1) },
  world: { timeline: [every(seconds(3), hook((sim) => {
    const busy = sim.busyClients();
    if (busy.length > 0 && sim.draws.bernoulli(0.3)) sim.inject(crash({ clients: [busy[0]] }));
  }))] },
});
`,
  );
  const words = ["run", file, "--seed", "9", "--set", "checkpoints.every=1"];
  const whole = join(folder, "own-straight");
  assert.equal((await runFlame(...words, "--out", whole)).code, 0);
  // What the command line does, and then Ctrl-C.
  const changes = { seed: 9, set: ["checkpoints.every=1"] };
  const out = join(folder, "own-resumed");
  const own = (await loadScenario(file)).scenarios[0]!;
  const { configure } = await import("../../src/scenario/configure.ts");
  const { reproduce: command } = JSON.parse(readFileSync(join(whole, "run.json"), "utf8")) as { reproduce: string };
  await run(configure(own, changes), {
    out,
    reproduce: command,
    source: sourceOf(file, changes)!,
    signal: interruptAfter(40),
  });
  const text = readFileSync(file, "utf8");
  writeFileSync(file, text.replace("bernoulli(0.3)", "bernoulli(0.4)"));
  const asked = await runFlame("resume", out);
  assert.equal(asked.code, 2);
  const [, digest] = /--trust-code ([0-9a-f]{12}) then executes it/.exec(asked.err) ?? assert.fail(asked.err);
  const refused = await runFlame("resume", out, "--trust-code", digest!);
  assert.equal(refused.code, 2);
  assert.match(refused.err, /the file of its scenario \S+own\.ts has changed since/);
  writeFileSync(file, text);
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assertSameRun(out, whole, "with a hook");
});

test("a folder that is no run, and a run.json that is none, are said to be so", async () => {
  const nowhere = await runFlame("resume", join(folder, "nowhere"));
  assert.equal(nowhere.code, 2);
  assert.match(nowhere.err, /is not a run folder: it has no scenario\.json/);
  const out = await interrupted();
  writeFileSync(join(out, "run.json"), '{ "state": 7 }');
  const broken = await runFlame("resume", out);
  assert.equal(broken.code, 2);
  assert.match(broken.err, /run\.json has 4 mistakes/);
});
