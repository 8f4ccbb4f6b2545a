import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addChange, emptyMean, foldMean } from "../../../src/fl/averaging.ts";
import type { ParameterLayout } from "../../../src/tasks/layout.ts";
import { makeUpdate } from "../../support/fl-updates.ts";

const size = 24;
const numbers = fc.array(fc.float({ noNaN: true, min: -4, max: 4 }), { minLength: size, maxLength: size });
const range = fc
  .tuple(fc.nat({ max: size }), fc.nat({ max: size }))
  .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) }));

test("the mean over a range of any place and length has the bits of the formula, and leaves the rest alone", () => {
  fc.assert(
    fc.property(
      range,
      fc.array(fc.tuple(numbers, numbers, fc.integer({ min: 1, max: 9 })), { maxLength: 4 }),
      (own, sent) => {
        const layout = { size, groups: [{ ranges: [own] }] } as unknown as ParameterLayout;
        const sum = emptyMean(layout);
        const mean = new Float64Array(size);
        const changes = new Float64Array(size);
        const expected = new Float64Array(size);
        let total = 0;
        for (const [values, base, examples] of sent) {
          const update = {
            ...makeUpdate({}),
            values: Float32Array.from(values),
            base: Float32Array.from(base),
            trained: Uint8Array.of(1),
          };
          foldMean(sum, update, layout, "damp", () => examples);
          addChange(changes, update.values, update.base, own.start, own.end, examples);
          total += examples;
          for (let i = own.start; i < own.end; i++) {
            const delta = update.values[i]! - update.base[i]!;
            mean[i] = mean[i]! + (examples / total) * (delta - mean[i]!);
            expected[i] = expected[i]! + examples * delta;
          }
        }
        assert.deepEqual(sum.delta, mean);
        assert.deepEqual(changes, expected);
      },
    ),
  );
});
