import assert from "node:assert/strict";
import { test } from "node:test";
import { divergenceOf } from "../../../src/records/metrics.ts";

/** Rounds with one loss for each budget; a round without any was not evaluated. */
const rows = (...losses: number[][]) =>
  losses.map((of, round) => ({
    round,
    evaluations: of.map((loss, at) => ({ budget: 8 - at, loss, accuracy: 0, exactMatch: 0 })),
  }));

test("a model has diverged after the first round with a loss that is no finite number, at any budget", () => {
  for (const loss of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const found = divergenceOf(rows([2, 3], [], [1.9, loss], [loss, loss]));
    assert.deepEqual(found, { round: 2, found: "its held-out loss is no finite number" });
  }
});

test("or with one that is over ten times that of its budget in the first evaluation, or over ten nats", () => {
  assert.deepEqual(divergenceOf(rows([2, 6], [20, 20], [20.5, 60])), {
    round: 2,
    found: "its held-out loss is 20.5, over 20.0",
  });
  assert.equal(divergenceOf(rows([0.1], [9.9])), null);
  assert.equal(divergenceOf(rows([0.1], [10.1]))?.round, 1);
  assert.equal(divergenceOf(rows([], [])), null);
});
