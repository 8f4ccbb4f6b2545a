import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError, InvariantError, MachineError } from "../../src/base/errors.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../src/folder/saved-state.ts";
import { blamed } from "../../src/run/restore.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { stormy } from "../support/weather.ts";

const reproduce = "npx flame run stormy";

test("a run that is interrupted anywhere and resumed leaves the same bytes as one that was not", async (t) => {
  const folder = temporaryFolder(t);
  for (const seed of [0, 1, 2]) {
    const straight = join(folder, `straight-${seed}`);
    const { diagnostics } = await run(stormy(seed), { out: straight, reproduce });
    for (const share of [0, 0.1, 0.35, 0.6, 0.99]) {
      const stopAt = Math.floor(share * diagnostics.events!);
      const out = join(folder, `resumed-${seed}-${stopAt}`);
      const first = await run(stormy(seed), { out, reproduce, signal: interruptAfter(stopAt) });
      assert.equal(first.state, "interrupted");
      const second = await resume(await loadRun(out), { reproduce });
      assert.equal(second.state, "finished");
      assertSameRun(out, straight, `seed ${seed}, interrupted after event ${stopAt}`);
    }
  }
});

test("a run without training has no time for a checkpoint of each round, unless the scenario asks for it", async (t) => {
  const folder = temporaryFolder(t);
  for (const every of [undefined, 3]) {
    const out = join(folder, String(every));
    const { diagnostics, rounds } = await run(stormy(1, { checkpoints: { ...(every && { every }) } }), { out });
    if (every === undefined) assert.ok(diagnostics.checkpoints! < rounds, `${diagnostics.checkpoints} of ${rounds}`);
    else assert.equal(diagnostics.checkpoints, Math.floor((rounds - 1) / every) + 1);
  }
});

test("a run may be interrupted again and again", async (t) => {
  const folder = temporaryFolder(t);
  await run(stormy(1), { out: join(folder, "straight"), reproduce });
  const out = join(folder, "resumed");
  let { state } = await run(stormy(1), { out, reproduce, signal: interruptAfter(20) });
  for (let leg = 0; state === "interrupted"; leg++) {
    assert.ok(leg < 100, "the run goes on");
    ({ state } = await resume(await loadRun(out), { reproduce, signal: interruptAfter(20) }));
  }
  assertSameRun(out, join(folder, "straight"), "in many legs");
});

test("a damaged checkpoint is named and the one before it is taken", async (t) => {
  const folder = temporaryFolder(t);
  await run(stormy(0), { out: join(folder, "straight"), reproduce });
  const out = join(folder, "resumed");
  await run(stormy(0), { out, reproduce, signal: interruptAfter(60) });
  const names = readdirSync(join(out, "checkpoints")).sort();
  assert.ok(names.length >= 2, names.join(" "));
  const newest = join(out, "checkpoints", names.at(-1)!);
  const bytes = readFileSync(newest);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(newest, bytes);
  const notes: string[] = [];
  await resume(await loadRun(out), {
    reproduce,
    listen: (progress) => {
      if (progress.type === "note") notes.push(progress.text);
    },
  });
  assert.equal(notes.length, 1);
  assert.match(notes[0]!, new RegExp(`${names.at(-1)} is damaged.*the one before it is tried`));
  assertSameRun(out, join(folder, "straight"), "from the checkpoint before");
});

test("a checkpoint with a right digest and a wrong value ends in one error that names file, part and field", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await run(stormy(0), { out, reproduce, signal: interruptAfter(60) });
  const folder = join(out, "checkpoints");
  const name = readdirSync(folder).sort().at(-1)!;
  for (const other of readdirSync(folder)) if (other !== name) rmSync(join(folder, other));
  const good = readFileSync(join(folder, name));
  const wrongs: [path: string, value: unknown, told: RegExp][] = [
    ["kernel.queue.0.kind", gone, /kernel\.queue\[0\]\.kind is missing, expected a string/],
    ["kernel.queue.0.kind", "no such", /kernel\.queue\[0\]\.kind is "no such", expected one of .*flight/],
    ["kernel.queue.0.time", 1e300, /kernel\.queue\[0\]\.time is 1e\+300, expected a whole number/],
    ["kernel.queue.0.time", 2 ** 50, /kernel\.queue\[1\] is event \d+ at \d+ ms, expected one after/],
    ["participations.roundStartedAt", null, /participations\.roundStartedAt is null/],
    ["participations.open", [], /participations\.open and the state of server differ in participation \d+/],
    ["environment.meter", new Uint8Array(3), /environment\.meter\.traffic is missing, expected an object/],
    ["environment.meter.traffic.uploadLost", 1e12, /meter\.traffic has -\d+ bytes under way \(up\)/],
    ["environment.batteries.levels.5", -1, /batteries\.levels has -1, expected one in \[0, 1\]/],
    ["rounds.counts.0.late", "x", /rounds\.counts\[0\]\.late is "x", expected a number/],
    ["roster.clients.0", 99, /roster\.clients\[0\] is 99, expected rows of 24, ascending/],
    ["progress.done", true, /progress\.done is true, but the server is/],
    ["system.registry.residents.0.2", new Uint8Array(9), /the state of server 0/],
    ["rescalers", gone, /rescalers is missing/],
  ];
  for (const [path, value, told] of wrongs) {
    const checkpoint = structuredClone(decodeCheckpoint(good, name));
    const keys = path.split(".");
    const holder = keys.slice(0, -1).reduce((inner, key) => inner[key] as Tree, checkpoint.parts as Tree);
    if (value === gone) delete holder[keys.at(-1)!];
    else holder[keys.at(-1)!] = value;
    writeFileSync(join(folder, name), encodeCheckpoint(checkpoint));
    await assert.rejects(
      async () => resume(await loadRun(out), { reproduce }),
      (failure: Error) => failure instanceof InputError && failure.message.includes(name) && told.test(failure.message),
      path,
    );
  }
});

const gone = Symbol("gone");
type Tree = Record<string, unknown>;

test("a promise that a checkpoint makes and breaks later is an error that names the checkpoint", () => {
  const told = blamed(new InvariantError("more bytes arrived than were sent"), { round: 2, events: 40 });
  assert.ok(told instanceof InputError);
  assert.match(
    told.message,
    /from checkpoint 000002-000000000040\.ckpt broke a rule: more bytes arrived than were sent/,
  );
  const full = new MachineError("the disk is full");
  assert.equal(blamed(full, { round: 2, events: 40 }), full);
});

test("a run whose scenario was changed is not continued, unless forced, and is then marked", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await run(stormy(0), { out, reproduce, signal: interruptAfter(60) });
  const path = join(out, "scenario.json");
  copyFileSync(path, `${path}.old`);
  writeFileSync(path, readFileSync(path, "utf8").replace('"minUpdates": 3', '"minUpdates": 2'));
  await assert.rejects(async () => resume(await loadRun(out), { reproduce }), /its scenario.json has changed since/);
  await resume(await loadRun(out), { reproduce, force: true });
  const record = JSON.parse(readFileSync(join(out, "run.json"), "utf8")) as { continuedDespite: string[] };
  assert.equal(record.continuedDespite.length, 1);
  assert.match(
    record.continuedDespite[0]!,
    /^its scenario\.json has changed since: expected [0-9a-f]{16}…, found [0-9a-f]{16}…$/,
  );
  const result = JSON.parse(readFileSync(join(out, "result.json"), "utf8")) as typeof record;
  assert.deepEqual(result.continuedDespite, record.continuedDespite);
});

test("a finished run is not resumed", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await run(stormy(0), { out, reproduce });
  await assert.rejects(async () => resume(await loadRun(out)), /has finished/);
});

test("no two processes write one run", async (t) => {
  const out = join(temporaryFolder(t), "run");
  await run(stormy(0), { out, reproduce, signal: interruptAfter(30) });
  const going = resume(await loadRun(out), { reproduce });
  await assert.rejects(async () => resume(await loadRun(out), { reproduce }), /is being written by process \d+/);
  await going;
});

test("checkpoints of a run without training are the same bytes on a machine that is slower", async (t) => {
  const folder = temporaryFolder(t);
  const scenario = () => stormy(4, { checkpoints: { every: 1, keep: 99 } });
  const [fast, slow] = ["fast", "slow"].map((name) => join(folder, name)) as [string, string];
  const pause = new Int32Array(new SharedArrayBuffer(4));
  await run(scenario(), { out: fast });
  await run(scenario(), { out: slow, listen: ({ type }) => void (type === "round" && Atomics.wait(pause, 0, 0, 60)) });
  const names = readdirSync(join(fast, "checkpoints"));
  assert.ok(names.length > 2);
  assert.deepEqual(readdirSync(join(slow, "checkpoints")), names);
  for (const name of names) {
    const [ours, theirs] = [fast, slow].map((out) => readFileSync(join(out, "checkpoints", name)));
    assert.ok(ours!.equals(theirs!), name);
  }
});
