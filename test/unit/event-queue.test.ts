import assert from "node:assert/strict";
import { test } from "node:test";
import { millis } from "../../src/base/units.ts";
import { EventQueue, type SimEvent } from "../../src/sim/event-queue.ts";

const event = (time: number, sequence: number): SimEvent => ({ time: millis(time), sequence, kind: "k", data: null });

function drain(queue: EventQueue): string[] {
  const popped = [];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) popped.push(`${next.time}/${next.sequence}`);
  return popped;
}

test("the earliest event comes first, and of two at one instant the one scheduled first", () => {
  const queue = new EventQueue();
  for (const [time, sequence] of [
    [5, 0],
    [3, 1],
    [5, 2],
    [3, 3],
    [0, 4],
  ] as const)
    queue.push(event(time, sequence));
  assert.equal(queue.peek()?.sequence, 4);
  assert.deepEqual(drain(queue), ["0/4", "3/1", "3/3", "5/0", "5/2"]);
});

test("an empty queue pops nothing, again and again", () => {
  const queue = new EventQueue();
  assert.equal(queue.pop(), undefined);
  assert.equal(queue.peek(), undefined);
  queue.push(event(1, 0));
  queue.pop();
  assert.equal(queue.pop(), undefined);
  assert.equal(queue.size, 0);
});

test("instants beyond 2^31 ms and sequences beyond 2^32 keep their order", () => {
  const queue = new EventQueue();
  queue.push(event(2 ** 50 + 1, 2 ** 40 + 1));
  queue.push(event(2 ** 50, 2 ** 40 + 2));
  queue.push(event(2 ** 50, 2 ** 40));
  assert.deepEqual(drain(queue), [
    `${2 ** 50}/${2 ** 40}`,
    `${2 ** 50}/${2 ** 40 + 2}`,
    `${2 ** 50 + 1}/${2 ** 40 + 1}`,
  ]);
});

test("a snapshot lists events in the order they will happen and leaves the queue as it was", () => {
  const queue = new EventQueue();
  for (let i = 0; i < 100; i++) queue.push(event((i * 37) % 10, i));
  const snapshot = queue.snapshot();
  assert.equal(queue.size, 100);
  assert.deepEqual(
    snapshot.map(({ time, sequence }) => `${time}/${sequence}`),
    drain(queue),
  );
});

test("a restored queue forgets what it held", () => {
  const queue = new EventQueue();
  queue.push(event(1, 0));
  queue.restore([event(7, 3), event(7, 2)]);
  assert.deepEqual(drain(queue), ["7/2", "7/3"]);
});
