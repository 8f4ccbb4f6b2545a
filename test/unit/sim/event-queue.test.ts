import assert from "node:assert/strict";
import { test } from "node:test";
import { millis } from "../../../src/base/units.ts";
import { EventQueue, type SimEvent } from "../../../src/sim/kernel/event-queue.ts";

const event = (time: number, sequence: number): SimEvent => ({ time: millis(time), sequence, kind: "k", data: null });

function put(queue: EventQueue, time: number, sequence: number): void {
  queue.push(millis(time), sequence, "k", null);
}

function drain(queue: EventQueue): string[] {
  const popped = [];
  for (; queue.size > 0; queue.drop()) popped.push(`${queue.time}/${queue.sequence}`);
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
    put(queue, time, sequence);
  assert.equal(queue.sequence, 4);
  assert.deepEqual(drain(queue), ["0/4", "3/1", "3/3", "5/0", "5/2"]);
});

test("an empty queue has no first event, again and again", () => {
  const queue = new EventQueue();
  const nothing = () => {
    queue.drop();
    assert.deepEqual([queue.size, queue.time, queue.sequence, queue.kind, queue.data], [0, NaN, -1, -1, undefined]);
  };
  nothing();
  put(queue, 1, 0);
  queue.drop();
  nothing();
});

test("an event keeps its kind and its data on its way through the queue", () => {
  const queue = new EventQueue();
  for (let i = 0; i < 300; i++) queue.push(millis((i * 37) % 10), i, `kind ${i % 7}`, { i });
  for (; queue.size > 0; queue.drop()) {
    const i = queue.sequence;
    assert.deepEqual([queue.kindOf(queue.kind), queue.data], [`kind ${i % 7}`, { i }]);
  }
});

test("instants beyond 2^31 ms and sequences beyond 2^32 keep their order", () => {
  const queue = new EventQueue();
  put(queue, 2 ** 50 + 1, 2 ** 40 + 1);
  put(queue, 2 ** 50, 2 ** 40 + 2);
  put(queue, 2 ** 50, 2 ** 40);
  assert.deepEqual(drain(queue), [
    `${2 ** 50}/${2 ** 40}`,
    `${2 ** 50}/${2 ** 40 + 2}`,
    `${2 ** 50 + 1}/${2 ** 40 + 1}`,
  ]);
});

test("a snapshot lists events in the order they will happen and leaves the queue as it was", () => {
  const queue = new EventQueue();
  for (let i = 0; i < 100; i++) put(queue, (i * 37) % 10, i);
  const snapshot = queue.snapshot();
  assert.equal(queue.size, 100);
  assert.deepEqual(
    snapshot.map(({ time, sequence }) => `${time}/${sequence}`),
    drain(queue),
  );
});

test("a restored queue forgets what it held", () => {
  const queue = new EventQueue();
  put(queue, 1, 0);
  queue.restore([event(7, 3), event(7, 2)]);
  assert.deepEqual(drain(queue), ["7/2", "7/3"]);
});
