import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { stormy } from "../support/weather.ts";

const reproduce = "npx flame run stormy";

test("a run that is interrupted anywhere and resumed leaves the same bytes as one that was not", async (t) => {
  const folder = temporaryFolder(t);
  for (const seed of [0, 1, 2, 3, 4]) {
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
