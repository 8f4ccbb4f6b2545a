import assert from "node:assert/strict";
import { test } from "node:test";
import { Packr } from "msgpackr";
import { InvariantError } from "../../../src/base/errors.ts";
import { after, type Millis, millis } from "../../../src/base/units.ts";
import { Kernel } from "../../../src/sim/kernel/kernel.ts";

const at = millis;

/** A kernel whose "note" events write down their time and data. */
function noting(): { kernel: Kernel; notes: string[] } {
  const kernel = new Kernel();
  const notes: string[] = [];
  kernel.on<string>("note", (text) => {
    notes.push(`${kernel.now} ${text}`);
  });
  return { kernel, notes };
}

test("events happen in order of time, and in order of scheduling at one instant", async () => {
  const { kernel, notes } = noting();
  kernel.schedule(at(20), "note", "late");
  kernel.schedule(at(10), "note", "first");
  kernel.schedule(at(10), "note", "second");
  assert.equal(kernel.pending, 3);
  assert.equal(await kernel.run(), 3);
  assert.deepEqual(notes, ["10 first", "10 second", "20 late"]);
  assert.equal(kernel.now, 20);
  assert.equal(kernel.pending, 0);
});

test("what a handler schedules for now happens at this instant, after what was already due", async () => {
  const { kernel, notes } = noting();
  kernel.on("start", () => {
    kernel.schedule(kernel.now, "note", "consequence");
  });
  kernel.schedule(at(5), "start", null);
  kernel.schedule(at(5), "note", "already due");
  await kernel.run();
  assert.deepEqual(notes, ["5 already due", "5 consequence"]);
});

test("virtual time stands still while a handler's promise is pending", async () => {
  const { kernel, notes } = noting();
  kernel.on("work", async () => {
    const started = kernel.now;
    for (let i = 0; i < 10; i++) await Promise.resolve();
    notes.push(`${kernel.now - started} ms of work`);
  });
  kernel.schedule(at(1), "work", null);
  kernel.schedule(at(2), "note", "next");
  await kernel.run();
  assert.deepEqual(notes, ["0 ms of work", "2 next"]);
});

test("a handler that returns no promise is not waited for: three thousand events pass in one microtask", async () => {
  const { kernel } = noting();
  for (let i = 0; i < 3_000; i++) kernel.schedule(at(i), "note", "");
  const run = kernel.run();
  assert.equal(kernel.processed, 3_000);
  await run;
});

test("the event loop gets its turn in the middle of a long run", async () => {
  const kernel = new Kernel();
  let stop = false;
  kernel.on("tick", () => {
    kernel.schedule(after(kernel.now, at(1)), "tick", null);
  });
  kernel.schedule(at(0), "tick", null);
  setImmediate(() => {
    stop = true;
  });
  const handled = await kernel.run({ until: () => stop || kernel.processed === 100_000 });
  assert.ok(handled >= 4_096 && handled <= 3 * 4_096, `stopped after ${handled} events`);
});

test("a run stops before the next event once `until` holds, and goes on from there", async () => {
  const { kernel, notes } = noting();
  for (const time of [1, 2, 3, 4]) kernel.schedule(at(time), "note", "");
  assert.equal(await kernel.run({ until: () => kernel.now >= 2 }), 2);
  assert.equal(kernel.now, 2);
  assert.equal(await kernel.run({ until: () => true }), 0);
  assert.equal(await kernel.run(), 2);
  assert.equal(kernel.processed, 4);
  assert.equal(notes.length, 4);
});

test("nothing can be scheduled in the past, at a fraction of a millisecond, or at no time at all", async () => {
  const { kernel } = noting();
  kernel.schedule(at(10), "note", "");
  await kernel.run();
  for (const bad of [9, 10.5, NaN, Infinity]) {
    assert.throws(() => kernel.schedule(bad as Millis, "note", ""), InvariantError);
  }
  assert.throws(() => kernel.schedule(at(9), "note", ""), /"note" scheduled at 9, .* from 10 \(now\) on/);
  assert.equal(kernel.pending, 0);
});

test("a kind with two handlers or with none is a bug", async () => {
  const { kernel } = noting();
  assert.throws(() => kernel.on("note", () => {}), /"note" has a handler already/);
  kernel.schedule(at(1), "unheard", null);
  await assert.rejects(kernel.run(), /"unheard" has no handler/);
});

test("a handler cannot run the kernel it is called from", async () => {
  const kernel = new Kernel();
  kernel.on("loop", async () => {
    await kernel.run();
  });
  kernel.schedule(at(1), "loop", null);
  await assert.rejects(kernel.run(), InvariantError);
});

test("what a handler throws ends the run with the clock at its event, and the kernel can run again", async () => {
  const { kernel, notes } = noting();
  kernel.on("throw", () => {
    throw new Error("boom");
  });
  kernel.on("reject", async () => {
    throw new Error("boom later");
  });
  kernel.schedule(at(3), "throw", null);
  kernel.schedule(at(4), "reject", null);
  kernel.schedule(at(5), "note", "after");
  await assert.rejects(kernel.run(), /boom$/);
  assert.equal(kernel.now, 3);
  await assert.rejects(kernel.run(), /boom later/);
  await kernel.run();
  assert.deepEqual(notes, ["5 after"]);
});

test("an onlooker sees each event before its handler, until it looks away", async () => {
  const { kernel, notes } = noting();
  const leave = kernel.observe(({ time, kind }) => notes.push(`saw ${kind} at ${time}, clock ${kernel.now}`));
  kernel.schedule(at(1), "note", "one");
  await kernel.run();
  leave();
  kernel.schedule(at(2), "note", "two");
  await kernel.run();
  assert.deepEqual(notes, ["saw note at 1, clock 1", "1 one", "2 two"]);
});

/** Three counters that reschedule themselves by a rule of time and sequence, so any lost event or number shows. */
function busy(): { kernel: Kernel; log: string[] } {
  const kernel = new Kernel();
  const log: string[] = [];
  kernel.on<number>("step", (counter, sequence) => {
    log.push(`${kernel.now}#${sequence}:${counter}`);
    kernel.schedule(after(kernel.now, at((sequence * 7) % 4)), "step", (counter + 1) % 5);
  });
  return { kernel, log };
}

test("a run restored from msgpack bytes continues as if it had never stopped", async () => {
  const straight = busy();
  for (const counter of [0, 1, 2]) straight.kernel.schedule(at(counter), "step", counter);
  await straight.kernel.run({ until: () => straight.kernel.processed === 50 });
  const packr = new Packr({ moreTypes: true });
  const bytes = packr.pack(straight.kernel.snapshot());
  const resumed = busy();
  resumed.kernel.schedule(at(99), "step", 4);
  resumed.kernel.restore(packr.unpack(bytes));
  straight.log.length = 0;
  for (const { kernel } of [straight, resumed]) await kernel.run({ until: () => kernel.processed === 100 });
  assert.equal(straight.log.length, 50);
  assert.deepEqual(resumed.log, straight.log);
  assert.deepEqual(resumed.kernel.snapshot(), straight.kernel.snapshot());
});

test("a snapshot taken by a handler counts its own event as past", async () => {
  const { kernel, notes } = noting();
  const states: ReturnType<Kernel["snapshot"]>[] = [];
  kernel.on("save", () => {
    states.push(kernel.snapshot());
  });
  kernel.schedule(at(1), "save", null);
  kernel.schedule(at(1), "note", "after the save");
  await kernel.run();
  kernel.restore(states[0]!);
  assert.equal(kernel.processed, 1);
  await kernel.run();
  assert.deepEqual(notes, ["1 after the save", "1 after the save"]);
  assert.equal(kernel.processed, 2);
});

test("a kernel is not restored while it runs", async () => {
  const kernel = new Kernel();
  kernel.on("restore", () => kernel.restore(kernel.snapshot()));
  kernel.schedule(at(1), "restore", null);
  await assert.rejects(kernel.run(), /cannot be restored while it runs/);
});
