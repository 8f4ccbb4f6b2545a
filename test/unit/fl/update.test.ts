import assert from "node:assert/strict";
import { test } from "node:test";
import { checkUpdate, type Update } from "../../../src/fl/update.ts";
import { makeUpdate, task } from "../../support/fl-updates.ts";

/** topK 2, ten tokens: twenty activations per layer. */
const good = makeUpdate({ active: [10, 6, 4, 0, 10, 10] });
const poisoned = (index: number, value: number) => {
  const values = good.values.slice();
  values[index] = value;
  return values;
};

test("a sound update passes", () => {
  assert.equal(checkUpdate(good, task), null);
});

test("a client that saw no tokens is sound if it activated nothing", () => {
  assert.equal(checkUpdate(makeUpdate({ tokens: 0, active: 0 }), task), null);
});

const broken: readonly [name: string, change: Partial<Update>, reason: RegExp][] = [
  ["a short adapter", { values: good.values.slice(1) }, /adapter has 53 values, expected 54/],
  ["a long base", { base: new Float32Array(55) }, /base adapter has 55 values, expected 54/],
  ["a NaN", { values: poisoned(7, Number.NaN) }, /adapter value 7 is NaN/],
  ["an infinity", { values: poisoned(53, -Infinity) }, /adapter value 53 is -Infinity/],
  ["an infinite base", { base: poisoned(0, Infinity) }, /base adapter value 0 is Infinity/],
  ["a NaN rescaler", { personal: Float32Array.of(1, Number.NaN) }, /rescaler value 1 is NaN/],
  ["a short rescaler", { personal: Float32Array.of(1) }, /rescaler has 1 factors, expected 2/],
  ["missing counts", { counts: new Float64Array(5) }, /activations have 5 counts, expected 6/],
  ["counts that do not add up", { counts: Float64Array.of(10, 6, 4, 1, 10, 10) }, /layer 1 sum to 21, expected .* 20/],
  ["a token counted twice", { counts: Float64Array.of(12, 4, 4, 0, 10, 10) }, /expert 0 was activated 12 times by 10/],
  ["a negative token count", { units: -10 }, /tokens is -10/],
  ["half a token", { units: 9.5 }, /tokens is 9.5/],
  ["no experts", { plan: { kind: { variant: { topK: 0 } } } }, /topK is 0, expected an integer in \[1, 3\]/],
  ["too many experts", { plan: { kind: { variant: { topK: 4 } } } }, /topK is 4/],
  ["no examples", { examples: 0 }, /examples is 0/],
  ["a NaN loss", { meanLoss: Number.NaN }, /meanLoss is NaN/],
  ["a NaN loss before it began", { firstLoss: Number.NaN }, /firstLoss is NaN, before the first step/],
  ["a negative loss", { firstLoss: -1 }, /firstLoss is -1/],
  ["a discount above one", { discount: 1.5 }, /discount is 1.5/],
];

for (const [name, change, reason] of broken) {
  test(`an update with ${name} is refused with the reason`, () => {
    const refusal = checkUpdate({ ...good, ...change }, task)!;
    assert.match(refusal.text, reason);
    const kind = /base adapter value|firstLoss is NaN/.test(reason.source) ? "model-diverged" : "not-finite";
    assert.equal(refusal.kind, / value |NaN, before/.test(reason.source) ? kind : "misfit");
  });
}

test("what is not finite is found wherever it stands, and what is only large or small passes", () => {
  for (const index of good.values.keys()) {
    for (const value of [Number.NaN, Infinity, -Infinity]) {
      const found = checkUpdate({ ...good, values: poisoned(index, value) }, task);
      assert.equal(found?.text, `adapter value ${index} is ${value}, expected a finite number`);
    }
    for (const value of [-0, 1e-45, 3.4028234663852886e38, -3.4028234663852886e38]) {
      assert.equal(checkUpdate({ ...good, values: poisoned(index, value) }, task), null);
    }
  }
});
