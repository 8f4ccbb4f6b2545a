import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { reproduce } from "../../../src/cli/commands/run.ts";
import { openDisplay } from "../../../src/cli/screen/display.ts";
import { duration, header, roundLine } from "../../../src/cli/screen/table.ts";
import type { RoundMetrics } from "../../../src/records/metrics.ts";
import { factsOf } from "../../../src/tasks/facts.ts";

const row: RoundMetrics = {
  round: 3,
  startedAt: 0,
  closedAt: 754_500,
  invited: 10,
  counted: 6,
  late: 1,
  dropped: 2,
  rejected: 1,
  aggregated: true,
  tiers: [],
  trainLoss: 2.5,
  downloadBytes: 0,
  uploadBytes: 0,
  distinctClients: 6,
  evaluations: [{ budget: 8, loss: 2.3456, accuracy: 0.5, exactMatch: 0.125 }],
  activation: [],
  weights: [],
};
const evaluated = { task: factsOf("llm"), budgets: [8, 1] };
const pace = { seconds: 12.34, rate: 4.56, remaining: 185 };

test("a row stands under its header, a number under each word", () => {
  const line = stripVTControlCharacters(roundLine(row, evaluated, pace));
  assert.equal(line.length, header(evaluated).length);
  assert.deepEqual(line.trim().split(/\s+(?!%)/), [
    "3",
    "12m34.5s",
    "10",
    "6",
    "1",
    "2",
    "1",
    "2.346",
    "13 %",
    "·",
    "12.3s",
    "4.6",
    "3m05s",
  ]);
});

test("durations have two units at most", () => {
  assert.deepEqual([0.4, 48, 185, 7_800].map(duration), ["0s", "48s", "3m05s", "2h10m"]);
});

test("a log gets plain lines and a script one JSON object per line", () => {
  for (const json of [false, true]) {
    const lines: string[] = [];
    const out = { isTTY: false, write: (text: string) => lines.push(text) > 0 } as never;
    const display = openDisplay({ json, quiet: false }, { out, err: out });
    display.listen({ type: "round", row, ...pace });
    display.listen({ type: "note", text: "look" });
    display.close();
    // A log has a header above the first row.
    assert.equal(lines.length, json ? 2 : 3);
    assert.ok(lines.every((line) => line.endsWith("\n")));
    if (json)
      assert.deepEqual(
        lines.map((line) => (JSON.parse(line) as { event: string }).event),
        ["round", "note"],
      );
  }
});

test("the command line that runs a scenario again leaves out what cannot change the result", () => {
  assert.equal(reproduce("scenarios/quickstart.ts", {}), "npx flame run scenarios/quickstart.ts");
  assert.equal(
    reproduce("my scenario.ts", { seed: 7, rounds: 2, data: "d.json", timingOnly: true, set: ["a.b=c d"] }),
    "npx flame run 'my scenario.ts' --seed 7 --rounds 2 --data d.json --timing-only --set 'a.b=c d'",
  );
});
