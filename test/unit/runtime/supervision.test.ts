import assert from "node:assert/strict";
import { test } from "node:test";
import { millis, minutes } from "../../../src/base/units.ts";
import { afterCrash } from "../../../src/runtime/supervision.ts";

const policy = { restarts: 2, within: minutes(30), otherwise: "stop" } as const;

test("an actor goes on as long as its crashes within the window are few enough", () => {
  const first = afterCrash([], millis(0), policy);
  const second = afterCrash(first.crashes, minutes(10), policy);
  const third = afterCrash(second.crashes, minutes(29), policy);
  assert.deepEqual([first.verdict, second.verdict, third.verdict], ["restart", "restart", "stop"]);
});

test("crashes older than the window are forgotten", () => {
  const { crashes, verdict } = afterCrash([millis(0), minutes(10)], minutes(30), policy);
  assert.deepEqual(crashes, [minutes(10), minutes(30)]);
  assert.equal(verdict, "restart");
});

test("without supervision an actor is always restarted, and nothing is remembered", () => {
  assert.deepEqual(afterCrash([], minutes(1), undefined), { crashes: [], verdict: "restart" });
});
