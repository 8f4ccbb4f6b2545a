/** However a run is told to end, it does, says how to go on, and goes on to the bytes of a run that nobody disturbed. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { runFlame } from "../support/command-line.ts";
import { programs, type Started, start } from "../support/command-process.ts";
import { folderOfFile, temporaryFolder } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { assertSameRun } from "../support/run-folders.ts";

const skip = process.platform === "win32" && needs.signals;
const folder = folderOfFile();
const file = join(folder, "scenario.ts");
let straight = "";

/** After a minute and a half of virtual time the main thread may be lost for ever, to a loop, a lock or a write that nobody reads, or be slow. */
const code = `import { writeSync } from "node:fs";
import { defineScenario, every, hook, minutes, seconds } from "flame-sim";
const wait = (milliseconds) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
const lost = { loop: () => { for (;;); }, lock: () => wait(Infinity), write: () => { for (;;) process.stdout.write("x".repeat(65536)); } };
const slow = () => wait(100);
const how = process.env.FLAME_TEST_HOW;
export default defineScenario({
  name: "signals",
  timingOnly: true,
  model: { vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 },
  data: { sizes: { examplesPerClient: 40, tokensPerExample: 60 } },
  fleet: [{ name: "phone", clients: 9, budget: 1, tokensPerSecond: 300, uplink: 60_000 }],
  rounds: { count: 40, cohort: 4, deadline: minutes(1) },
  checkpoints: { every: 1 },
  world: { timeline: [every(seconds(3), hook((sim) => {
    if (sim.now < 90_000 || how === undefined) return;
    writeSync(2, "under way\\n");
    (lost[how] ?? slow)();
  }))] },
});
`;

before(async () => {
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  writeFileSync(file, code);
  straight = join(folder, "straight");
  assert.equal((await runFlame("run", file, "--out", straight)).code, 0);
});

let runs = 0;
async function underWay(how: string, env: NodeJS.ProcessEnv = {}): Promise<Started & { out: string }> {
  const out = join(folder, `run-${runs++}`);
  const run = start(["run", file, "--out", out], { ...env, FLAME_TEST_HOW: how });
  await once(run.process.stderr!, "data");
  return { ...run, out };
}

/** Sends a signal every 0.6 s, as somebody at a terminal does who sees nothing happen. @returns how many it took */
async function insist({ process: child, ended }: Started, signal: NodeJS.Signals): Promise<number> {
  let count = 0;
  const press = () => void (child.kill(signal) && count++);
  press();
  const timer = setInterval(press, 600);
  await ended;
  clearInterval(timer);
  return count;
}

async function assertGoesOn(out: string): Promise<void> {
  const record = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as { state: string };
  assert.equal(record.state, "interrupted");
  const { code, out: said, err } = await runFlame("resume", out);
  assert.equal(code, 0, said + err);
  assertSameRun(out, straight, "after a signal");
}

for (const [signal, exitCode, how] of [
  ["SIGINT", 130, "loop"],
  ["SIGTERM", 143, "write"],
  ["SIGHUP", 129, "loop"],
] as const) {
  test(`${signal} ends a run after the present event, with exit code ${exitCode}`, { skip }, async () => {
    const run = await underWay("slow");
    run.process.kill(signal);
    const { code, out: said } = await run.ended;
    assert.equal(code, exitCode);
    assert.match(said, /continue with: npx flame resume/);
    await assertGoesOn(run.out);
  });

  test(`a second ${signal} ends a main thread that a ${how} has taken for ever`, { skip }, async () => {
    const run = await underWay(how);
    // Nobody reads, and soon the pipe is full.
    run.process.stdout!.pause();
    assert.equal(await insist(run, signal), 2);
    const ended = await run.ended;
    assert.equal(ended.signal, signal);
    assert.match(ended.err, new RegExp(`ended at once; continue with: npx flame resume ${run.out}`));
    await assertGoesOn(run.out);
  });
}

test("a signal that a launcher passes on once more is one signal; another one is a second", { skip }, async () => {
  const patient = await underWay("slow");
  for (let time = 0; time < 2; time++) patient.process.kill("SIGINT");
  assert.equal((await patient.ended).code, 130);
  await assertGoesOn(patient.out);
  const hurried = await underWay("loop");
  hurried.process.kill("SIGINT");
  hurried.process.kill("SIGTERM");
  assert.ok(["SIGINT", "SIGTERM"].includes((await hurried.ended).signal!));
  await assertGoesOn(hurried.out);
});

/** As a Node without the flag: the thread that shall listen does not find with what. */
const withoutInternals = `import { writeFileSync } from "node:fs";
import threads from "node:worker_threads";
import { syncBuiltinESMExports } from "node:module";
const { Worker } = threads;
threads.Worker = class extends Worker {
  constructor(file, options) {
    const execArgv = options?.execArgv?.filter((word) => word !== "--expose-internals");
    if (execArgv?.length !== options?.execArgv?.length) writeFileSync(new URL("asked", import.meta.url), "");
    super(file, execArgv === undefined ? options : { ...options, execArgv });
  }
};
syncBuiltinESMExports();
`;

test("where Node keeps from a thread what it would listen with, the main thread listens", { skip }, async () => {
  const preload = join(folder, "without-internals.mjs");
  writeFileSync(preload, withoutInternals);
  const run = await underWay("slow", { NODE_OPTIONS: `--import ${preload}` });
  run.process.kill("SIGTERM");
  const { code, out: said, err } = await run.ended;
  assert.ok(existsSync(join(folder, "asked")), "the thread was begun");
  assert.equal(code, 143, err);
  assert.match(said, /continue with: npx flame resume/);
  await assertGoesOn(run.out);
});

/** Prepares files for as long as it lives. */
const writing = (path: string) => `import { writeAtomically } from ${JSON.stringify(source("src/base/disk.ts"))};
import { leaveNoDrafts, onInterrupt } from ${JSON.stringify(source("src/cli/screen/interrupt.ts"))};
leaveNoDrafts();
(await onInterrupt(() => {})).leave({ words: "bye", atOnce: true });
setTimeout(() => process.stdout.write("ready"), 100);
for (;;) {
  writeAtomically(${JSON.stringify(path)}, "x");
  await new Promise((resolve) => setImmediate(resolve));
}
`;
const source = (path: string) => pathToFileURL(join(import.meta.dirname, "../..", path)).href;

test("a signal between two files that are being written is what ends the process", { skip }, async () => {
  const program = join(folder, "writing.mjs");
  writeFileSync(program, writing(join(folder, "written")));
  // Of six without care four were killed, a second later.
  for (let time = 0; time < 6; time++) {
    const writer = spawn(process.execPath, [...process.execArgv, program], { stdio: ["ignore", "pipe", "ignore"] });
    await once(writer.stdout, "data");
    writer.kill("SIGINT");
    assert.deepEqual(await once(writer, "exit"), [null, "SIGINT"]);
  }
});

test("a main thread that hears nothing is ended by one signal after 20 s", { skip }, async () => {
  const run = await underWay("lock");
  run.process.kill("SIGINT");
  assert.equal((await run.ended).signal, "SIGINT");
  await assertGoesOn(run.out);
});

test("a run that was stopped and goes on, or whose pipe broke elsewhere, leaves the same bytes", { skip }, async () => {
  const run = await underWay("slow");
  for (const signal of ["SIGPIPE", "SIGSTOP", "SIGCONT", "SIGWINCH"] as const) run.process.kill(signal);
  assert.equal((await run.ended).code, 0);
  assertSameRun(run.out, straight, "after SIGSTOP and SIGCONT");
});

const preparing = `import { writeSync } from "node:fs";
import { defineScenario, partitionBy, table } from "flame-sim";
const forEver = () => {
  writeSync(2, "under way\\n");
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};
export default defineScenario({
  name: "preparing",
  task: { type: "tabular" },
  data: { source: table("wine"), partition: partitionBy(forEver) },
  fleet: [{ name: "clinic", clients: 2, budget: 1, tokensPerSecond: 50, uplink: 1e5 }],
  rounds: { count: 1, cohort: 2 },
  strategy: { type: "fedavg" },
});
`;

test("a run that is still being prepared ends at one signal, and there is no run then", { skip }, async () => {
  const [own, out] = [join(folder, "preparing.ts"), join(folder, "prepared")];
  writeFileSync(own, preparing);
  const { process: child, ended } = start(["run", own, "--out", out]);
  while (!String(await once(child.stderr!, "data")).includes("under way"));
  child.kill("SIGINT");
  const { signal, err } = await ended;
  assert.equal(signal, "SIGINT");
  assert.match(err, /^ended before the run was under way$/m);
  assert.ok(!existsSync(out));
});

/** The command as it is when something in its place has a name that begins so. */
async function untilThereIs(name: string, place: string, words: readonly string[]): Promise<Started> {
  const watcher = watch(place);
  const command = start(words, { TMPDIR: place });
  while (!readdirSync(place).some((found) => found.startsWith(name))) await once(watcher, "change");
  watcher.close();
  return command;
}

test("a command that nothing is asked of ends at one signal, and leaves no scratch and no half file", {
  skip,
}, async (t) => {
  const place = temporaryFolder(t);
  const logits = ["eval", "--budget", "4", "--examples", "64", "--logits", join(place, "logits.json")];
  for (const [name, signal, words] of [
    ["flame-", "SIGINT", ["inspect", "olmoe-1b-7b", "--time"]],
    ["logits.json.", "SIGTERM", logits],
  ] as const) {
    const { process: child, ended } = await untilThereIs(name, place, words);
    child.kill(signal);
    const { signal: by, err } = await ended;
    assert.equal(by, signal, err);
    assert.deepEqual(readdirSync(place), [], words.join(" "));
  }
});

test("a model that is being written is gone when two signals end the command at once", { skip }, async (t) => {
  const place = temporaryFolder(t);
  const words = ["synthesize", "--like", "olmoe-1b-7b", "--layers", "1", "--to", place];
  const { process: child, ended } = await untilThereIs("model", place, words);
  child.kill("SIGINT");
  child.kill("SIGTERM");
  const { signal, err } = await ended;
  assert.equal(typeof signal, "string", err);
  assert.deepEqual(readdirSync(place), []);
});

test("a study whose cells are lost to a loop is ended with its processes", { skip }, async () => {
  const words = ["stress", file, "--seeds", "2", "--workers", "2", "--out", join(folder, "study")];
  const child: ChildProcess = spawn(process.execPath, [...programs.built, ...words], {
    env: { ...process.env, FLAME_TEST_HOW: "loop" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  // Both cells hold the pipe: it closes when none of them is left.
  const closed = once(child, "close");
  let err = "";
  child.stderr!.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  while (!/under way\n.*under way\n/s.test(err)) await once(child.stderr!, "data");
  child.kill("SIGINT");
  child.kill("SIGTERM");
  await closed;
  assert.match(err, /ended at once; this goes on: npx flame stress .* --out /);
});
