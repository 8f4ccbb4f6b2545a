import assert from "node:assert/strict";
import { test } from "node:test";
import { rateFactor, type Schedule, scheduleSchema } from "../../../src/fl/local-rate.ts";
import { assertClose } from "../../support/fl-updates.ts";

const factors = (schedule: object, rounds: number): number[] => {
  const parsed: Schedule = scheduleSchema.parse(schedule);
  return Array.from({ length: rounds }, (_, at) => rateFactor(parsed, at + 1, rounds));
};

test("without a schedule, and with a constant one, rates stay as they are", () => {
  assert.equal(rateFactor(undefined, 3, 4), 1);
  assert.deepEqual(factors({ type: "constant" }, 3), [1, 1, 1]);
});

test("a warm-up rises in equal steps to the full rate in the round after it", () => {
  assert.deepEqual(factors({ type: "constant", warmup: 3 }, 5), [0.25, 0.5, 0.75, 1, 1]);
  assert.deepEqual(factors({ type: "linear", warmup: 9 }, 4), [0.1, 0.2, 0.3, 0.4]);
});

test("a linear schedule ends one step above what it falls to", () => {
  assert.deepEqual(factors({ type: "linear" }, 4), [1, 0.75, 0.5, 0.25]);
  assert.deepEqual(factors({ type: "linear", warmup: 1, final: 0.5 }, 5), [0.5, 1, 0.875, 0.75, 0.625]);
});

test("a cosine follows the recurrence of PyTorch's CosineAnnealingLR", () => {
  const [rounds, final] = [12, 0.1];
  const found = factors({ type: "cosine", final }, rounds);
  let rate = 1;
  for (let step = 0; step < rounds; step++) {
    // In float64 both ways: a few units in the last place.
    assertClose(found[step]!, rate, 1e-12);
    const cosine = (at: number) => 1 + Math.cos((Math.PI * at) / rounds);
    rate = final + (cosine(step + 1) / cosine(step)) * (rate - final);
  }
});

test("steps multiply the rate after each of their rounds", () => {
  assert.deepEqual(factors({ type: "step", after: [1, 3], factor: 0.5 }, 5), [1, 0.5, 0.5, 0.25, 0.25]);
});

test("no round trains at a rate of 0, and a prelude at that of round 1", () => {
  for (const type of ["constant", "linear", "cosine"]) {
    for (const warmup of [0, 1, 4, 7]) {
      const schedule = { type, warmup };
      for (const factor of factors(schedule, 4)) assert.ok(factor > 0 && factor <= 1, `${type} ${warmup}: ${factor}`);
      assert.equal(rateFactor(scheduleSchema.parse(schedule), 0, 4), factors(schedule, 4)[0]);
    }
  }
});
