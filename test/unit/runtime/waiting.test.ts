import assert from "node:assert/strict";
import { test } from "node:test";
import { WaitingTasks } from "../../../src/runtime/pools/waiting.ts";

function waitingFor(...kinds: (string | null)[]): WaitingTasks<{ kind: string | null; at: number }> {
  const tasks = new WaitingTasks<{ kind: string | null; at: number }>();
  for (const [at, kind] of kinds.entries()) tasks.push({ kind, at });
  return tasks;
}

test("threads that have done nothing begin with different kinds, and each goes on with its own", () => {
  const tasks = waitingFor("k=8", "k=8", "k=4", "k=4", "k=2");
  const [first, second] = [tasks.takeFor(null)!, tasks.takeFor(null)!];
  assert.deepEqual([first.at, second.at], [0, 2]);
  tasks.prepared(7, first.kind);
  assert.equal(tasks.takeFor(7)!.at, 1);
  tasks.prepared(8, second.kind);
  assert.equal(tasks.takeFor(8)!.at, 3);
});

test("a thread without work of its own begins with a kind of nobody's, and after that with one of another's", () => {
  const tasks = waitingFor("k=8", "k=8", "k=4");
  tasks.prepared(7, tasks.takeFor(null)!.kind);
  assert.deepEqual(
    [tasks.takeFor(8), tasks.takeFor(8), tasks.takeFor(8)].map((task) => task?.at),
    [2, 1, undefined],
  );
  assert.equal(tasks.size, 0);
});

test("tasks of no kind go in the order in which they came, and one that is put back is the next", () => {
  const tasks = waitingFor(null, null, null);
  const first = tasks.takeFor(7)!;
  tasks.unshift(first);
  assert.deepEqual(
    [tasks.takeFor(8), tasks.takeFor(7), tasks.takeFor(null)].map((task) => task?.at),
    [0, 1, 2],
  );
});
