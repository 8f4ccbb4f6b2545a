import assert from "node:assert/strict";
import { test } from "node:test";
import { type Diagnostics, watchWorkers } from "../../../src/run/diagnostics.ts";

/** A stopwatch that stands where it is put, and a pool that was busy for so long. */
function machine(workers: number) {
  const lines: string[] = [];
  const state = { now: 0, busy: {} as Record<string, number> };
  const diagnostics: Pick<Diagnostics, "elapsed" | "note"> = {
    elapsed: () => state.now,
    note: (_topic, text) => void lines.push(text),
  };
  const pool = {
    workers,
    get diagnostics() {
      return { completed: 0, retries: 0, stuck: 0, problems: [], busy: state.busy };
    },
  };
  return { lines, state, closed: watchWorkers(pool, diagnostics) };
}

test("what workers did is noted as a share of the time that they had since the round before", () => {
  const { lines, state, closed } = machine(2);
  Object.assign(state, { now: 4, busy: { train: 4, evaluate: 2 } });
  closed(1);
  // 3 of 2 · 2 worker seconds.
  Object.assign(state, { now: 6, busy: { train: 6, evaluate: 3 } });
  closed(2);
  assert.deepEqual(lines, ["75 % busy until round 1 closed, 4.00 s", "75 % busy until round 2 closed, 2.00 s"]);
});
