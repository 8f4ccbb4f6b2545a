import assert from "node:assert/strict";
import { test } from "node:test";
import { type Nature, WaitingTasks } from "../../../src/runtime/pools/waiting.ts";

interface Order extends Nature {
  readonly at: number;
}

const waitingFor = (...natures: Partial<Nature>[]): WaitingTasks<Order> => {
  const tasks = new WaitingTasks<Order>();
  for (const [at, nature] of natures.entries()) tasks.push({ kind: null, effort: 0, isPatient: false, ...nature, at });
  return tasks;
};
const ofKinds = (...kinds: (string | null)[]) => waitingFor(...kinds.map((kind) => ({ kind })));

test("threads that have done nothing begin with different kinds, and each goes on with its own", () => {
  const tasks = ofKinds("k=8", "k=8", "k=4", "k=4", "k=2");
  const [first, second] = [tasks.takeFor(null)!, tasks.takeFor(null)!];
  assert.deepEqual([first.at, second.at], [0, 2]);
  tasks.prepared(7, first.kind);
  assert.equal(tasks.takeFor(7)!.at, 1);
  tasks.prepared(8, second.kind);
  assert.equal(tasks.takeFor(8)!.at, 3);
});

test("a thread without work of its own begins with a kind of nobody's, and after that with one of another's", () => {
  const tasks = ofKinds("k=8", "k=8", "k=4");
  tasks.prepared(7, tasks.takeFor(null)!.kind);
  assert.deepEqual(
    [tasks.takeFor(8), tasks.takeFor(8), tasks.takeFor(8)].map((task) => task?.at),
    [2, 1, undefined],
  );
  assert.equal(tasks.size, 0);
});

test("tasks of no kind go in the order in which they came, and one that is put back is the next", () => {
  const tasks = ofKinds(null, null, null);
  const first = tasks.takeFor(7)!;
  tasks.unshift(first);
  assert.deepEqual(
    [tasks.takeFor(8), tasks.takeFor(7), tasks.takeFor(null)].map((task) => task?.at),
    [0, 1, 2],
  );
});

test("of tasks that are as good the longest goes first", () => {
  const tasks = waitingFor({ effort: 2 }, { effort: 5 }, { effort: 3 }, { kind: "k=8", effort: 9 });
  assert.deepEqual(
    [1, 2, 3, 4].map(() => tasks.takeFor(7)!.at),
    [1, 2, 0, 3],
  );
});

test("what nobody waits for is done when nothing else is left, and after eight others all the same", () => {
  const patient = { isPatient: true, effort: 100 };
  const tasks = waitingFor(patient, {}, {});
  assert.deepEqual(
    [1, 2, 3].map(() => tasks.takeFor(7)!.at),
    [1, 2, 0],
  );
  const many = waitingFor(patient, ...Array.from({ length: 100 }, () => ({})));
  const order = Array.from({ length: 101 }, () => many.takeFor(7)!.at);
  assert.equal(order.indexOf(0), 8);
});
