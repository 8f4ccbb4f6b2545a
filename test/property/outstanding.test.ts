import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { addTo, inOrder, takeFrom } from "../../actors/outstanding.ts";
import type { Invitation } from "../../actors/server-state.ts";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { millis } from "../../src/base/units.ts";

const base = { ref: "pledge", id: 0, bytes: 0 } as const;
const invitation = (number: number): Invitation => ({
  participation: participationId(number),
  client: clientId(number % 10),
  round: round(1),
  sentAt: millis(number),
  base,
});

test("whoever is taken out of the list was in it, and the others stay in the order of sending", () => {
  /** A number takes out the participation of that number, sent or not; null sends the next; "anew" restores the list. */
  const step = fc.oneof(fc.nat(60), fc.constant(null), fc.constant(null), fc.constant("anew" as const));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      let list: Invitation[] = [];
      const model = new Map<number, Invitation>();
      let next = 0;
      for (const each of steps) {
        if (each === "anew") list = structuredClone(list);
        else if (each === null) {
          const sent = invitation(next++);
          addTo(list, sent);
          model.set(sent.participation, sent);
        } else {
          assert.deepEqual(takeFrom(list, participationId(each)), model.get(each) ?? null);
          model.delete(each);
        }
        assert.deepEqual(inOrder(list), [...model.values()]);
      }
    }),
    { numRuns: 300, seed: 5 },
  );
});
