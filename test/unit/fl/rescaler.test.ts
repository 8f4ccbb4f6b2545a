import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../../src/base/ids.ts";
import { RescalerBook, type RescalerOptions } from "../../../src/fl/rescaler.ts";

const options: RescalerOptions = { layers: 2, topK: 8, init: "one", scope: "local" };
const report = (client: number, budget: number, examples: number, ...factors: number[]) => ({
  client: clientId(client),
  budget,
  examples,
  personal: Float32Array.from(factors),
});

test("before anyone has reported, factors are one, or K over k", () => {
  assert.deepEqual([...new RescalerBook(options).forBudget(2)], [1, 1]);
  assert.deepEqual([...new RescalerBook({ ...options, init: "ratio" }).forBudget(2)], [4, 4]);
});

test("a budget's factor is the mean of its clients' last reports, by examples", () => {
  const book = new RescalerBook(options);
  book.report(report(3, 2, 100, 9, 9));
  book.report(report(1, 2, 300, 2, 4));
  book.report(report(3, 2, 100, 4, 8));
  book.report(report(2, 8, 500, 1, 1.5));
  assert.deepEqual([...book.forBudget(2)], [2.5, 5]);
  assert.deepEqual([...book.forBudget(8)], [1, 1.5]);
  assert.deepEqual([...book.forBudget(4)], [1, 1]);
});

test("scope decides what a client goes on from", () => {
  const after = (scope: RescalerOptions["scope"]) => {
    const book = new RescalerBook({ ...options, scope });
    book.report(report(0, 1, 1, 4, 4));
    book.report(report(1, 1, 1, 2, 2));
    book.report(report(2, 8, 2, 1, 1));
    return {
      own: book.forClient(clientId(0), 1)[0],
      newcomer: book.forClient(clientId(9), 1)[0],
      budget8: book.forBudget(8)[0],
    };
  };
  assert.deepEqual(after("local"), { own: 4, newcomer: 3, budget8: 1 });
  assert.deepEqual(after("budget"), { own: 3, newcomer: 3, budget8: 1 });
  assert.deepEqual(after("global"), { own: 2, newcomer: 2, budget8: 2 });
});

test("the order of reports does not matter, nor what happens to arrays afterwards", () => {
  const reports = [report(0, 2, 3, 0.1, 0.7), report(1, 2, 5, 0.3, 0.2), report(2, 2, 7, 0.9, 0.4)];
  const [forwards, backwards] = [new RescalerBook(options), new RescalerBook(options)];
  for (const entry of reports) forwards.report(entry);
  for (const entry of reports.toReversed()) backwards.report(entry);
  const expected = forwards.forBudget(2);
  forwards.forBudget(2).fill(0);
  for (const { personal } of reports) personal.fill(0);
  assert.deepEqual(forwards.forBudget(2), expected);
  assert.deepEqual(backwards.forBudget(2), expected);
});

test("a restored book says what the old one said", () => {
  const book = new RescalerBook(options);
  book.report(report(7, 2, 3, 0.1, 0.7));
  book.report(report(1, 2, 5, 0.3, 0.2));
  const restored = new RescalerBook(options);
  restored.report(report(9, 2, 1, 5, 5));
  restored.restore(structuredClone(book.snapshot()));
  assert.deepEqual(restored.forBudget(2), book.forBudget(2));
  assert.deepEqual(restored.forClient(clientId(7), 2), book.forClient(clientId(7), 2));
  assert.deepEqual(restored.snapshot(), book.snapshot());
});

test("with router masses a factor starts at m_K / m_k, layer by layer, and a restored book remembers them", () => {
  const book = new RescalerBook({ ...options, layers: 2, topK: 4, init: "mass" });
  book.startFrom([
    [0.4, 0.6, 0.7, 0.8],
    [0.25, 0.5, 0.75, 1],
  ]);
  assert.deepEqual([...book.forBudget(4)], [1, 1]);
  assert.deepEqual([...book.forBudget(1)], [2, 4]);
  const restored = new RescalerBook({ ...options, layers: 2, topK: 4, init: "mass" });
  restored.restore(book.snapshot());
  assert.deepEqual([...restored.forBudget(2)], [...book.forBudget(2)]);
});
