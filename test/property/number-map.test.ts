import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NumberMap } from "../../src/base/number-map.ts";

/** Few enough keys that they meet, some of them beyond 32 bits. */
const key = fc.oneof(
  fc.nat({ max: 40 }),
  fc.nat({ max: 40 }).map((small) => small * 2 ** 32),
  fc.maxSafeNat(),
);
const command = fc.oneof(
  fc.record({ does: fc.constant("set" as const), key, value: fc.nat() }),
  fc.record({ does: fc.constant("delete" as const), key }),
  fc.record({ does: fc.constantFrom("clear" as const) }),
);

function assertSame(map: NumberMap<number>, model: Map<number, number>): void {
  const expected = [...model].sort(([a], [b]) => a - b);
  assert.deepEqual(map.entries(), expected);
  assert.deepEqual(
    map.values(),
    expected.map(([, value]) => value),
  );
  assert.equal(map.size, model.size);
}

test("a number map holds what a Map holds, and lists it in ascending order", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 300, size: "max" }), (commands) => {
      const map = new NumberMap<number>();
      const model = new Map<number, number>();
      for (const step of commands) {
        if (step.does === "set") {
          map.set(step.key, step.value);
          model.set(step.key, step.value);
        } else if (step.does === "delete") {
          assert.equal(map.take(step.key), model.get(step.key));
          model.delete(step.key);
          assert.equal(map.has(step.key), false);
        } else {
          map.clear();
          model.clear();
        }
        for (const [known, value] of model) assert.equal(map.get(known), value);
      }
      assertSame(map, model);
      assertSame(new NumberMap(model), model);
    }),
    { numRuns: 500, seed: 5 },
  );
});

test("consecutive numbers come and go in order for as long as anyone likes", () => {
  const map = new NumberMap<number>();
  const model = new Map<number, number>();
  for (let next = 0; next < 50_000; next++) {
    map.set(next, -next);
    model.set(next, -next);
    // The oldest leave, except every seventh, which stays a while longer.
    const old = next - 700;
    if (old >= 0 && old % 7 !== 0) assert.equal(map.take(old), model.get(old));
    if (old % 7 !== 0) model.delete(old);
    const older = next - 6_000;
    if (older < 0) continue;
    map.take(older);
    model.delete(older);
  }
  assertSame(map, model);
});
