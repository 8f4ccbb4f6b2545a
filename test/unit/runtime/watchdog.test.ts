import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeTask } from "../../../src/runtime/pools/pool.ts";
import { newPulse, watch } from "../../../src/runtime/pools/watchdog.ts";
import { beat, hostWorker } from "../../../src/runtime/pools/worker-host.ts";

function watched(limit: number) {
  const pulse = newPulse();
  const said: string[] = [];
  const stop = watch(pulse, limit, { quiet: () => said.push("quiet"), stuck: () => said.push("stuck") });
  return { said, stop, beat: () => Atomics.add(pulse, 0, 1) };
}

test("a task that finishes nothing is noticed after half the limit and given up after all of it, once", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { said } = watched(600_000);
  t.mock.timers.tick(299_999);
  assert.deepEqual(said, []);
  t.mock.timers.tick(1);
  assert.deepEqual(said, ["quiet"]);
  t.mock.timers.tick(300_000);
  assert.deepEqual(said, ["quiet", "stuck"]);
  t.mock.timers.tick(3_000_000);
  assert.deepEqual(said, ["quiet", "stuck"]);
});

test("a task may take for ever as long as it goes on finishing steps", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { said, beat } = watched(600_000);
  for (let step = 0; step < 1_000; step++) {
    t.mock.timers.tick(299_000);
    beat();
  }
  assert.deepEqual(said, []);
  for (let minute = 0; minute < 15; minute++) t.mock.timers.tick(60_000);
  assert.deepEqual(said, ["quiet", "stuck"], "until it stops");
});

test("nothing is said of a task whose watch has ended", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { said, stop } = watched(600_000);
  t.mock.timers.tick(300_000);
  stop();
  t.mock.timers.tick(3_000_000);
  assert.deepEqual(said, ["quiet"]);
});

test("a handler's beats reach the pulse that came with its task", async () => {
  const work = hostWorker({
    toil: ({ steps }: { steps: number }) => {
      for (let step = 0; step < steps; step++) beat();
    },
  });
  const [first, second] = [newPulse(), newPulse()];
  for (const [pulse, steps] of [
    [first, 3],
    [second, 5],
  ] as const) {
    await work({ tasks: [encodeTask({ work: "toil", job: { steps }, blobs: [] })], pulse });
  }
  // One more for the task that has arrived.
  assert.deepEqual([first[0], second[0]], [4, 6]);
});
