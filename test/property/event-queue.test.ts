import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Millis } from "../../src/base/units.ts";
import { EventQueue, type SimEvent } from "../../src/sim/kernel/event-queue.ts";

/** Few distinct times, so that ties are common; a null pops, "restart" replaces the queue by its restored snapshot. */
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.nat(20) },
  { weight: 4, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constant("restart" as const) },
);

test("the queue behaves like a sorted array under any pushes, pops and restarts", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 400, size: "max" }), (operations) => {
      let queue = new EventQueue();
      const model: SimEvent[] = [];
      for (const [sequence, step] of operations.entries()) {
        if (step === "restart") {
          const state = queue.snapshot();
          queue = new EventQueue();
          queue.restore(state);
        } else if (step === null) {
          queue.drop();
          model.shift();
        } else {
          const event = { time: step as Millis, sequence, kind: `k${step}`, data: { step } };
          queue.push(event.time, sequence, event.kind, event.data);
          // Sequences rise, so the place is after every event that is not later.
          const place = model.findIndex(({ time }) => time > step);
          model.splice(place < 0 ? model.length : place, 0, event);
        }
        assert.equal(queue.size, model.length);
        assert.equal(queue.sequence, model[0]?.sequence ?? -1);
        assert.equal(queue.data, model[0]?.data);
      }
      assert.deepEqual(queue.snapshot(), model);
    }),
    { numRuns: 200 },
  );
});

test("events pushed in any order of sequence are popped by time, then sequence", () => {
  const key = fc.record({ time: fc.nat(5), sequence: fc.maxSafeNat() });
  fc.assert(
    fc.property(fc.uniqueArray(key, { selector: ({ sequence }) => sequence, maxLength: 200 }), (keys) => {
      const queue = new EventQueue();
      for (const { time, sequence } of keys) queue.push(time as Millis, sequence, "k", null);
      const expected = keys.toSorted((a, b) => a.time - b.time || (a.sequence < b.sequence ? -1 : 1));
      for (const { time, sequence } of expected) {
        assert.deepEqual([queue.time, queue.sequence], [time, sequence]);
        queue.drop();
      }
    }),
  );
});
