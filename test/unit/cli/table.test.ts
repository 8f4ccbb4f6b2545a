import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { reproduce } from "../../../src/cli/commands/run.ts";
import { openDisplay } from "../../../src/cli/screen/display.ts";
import { duration, header, roundLine, statusLine } from "../../../src/cli/screen/table.ts";
import { wrapped } from "../../../src/cli/screen/terminal.ts";
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

test("a log of a long round has a line a minute", (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  const lines: string[] = [];
  const out = { isTTY: false, write: (text: string) => lines.push(text) > 0 };
  const display = openDisplay({ json: false, quiet: false }, { out, err: out });
  const status = { round: 1, time: 0, invited: 2, accepted: 1, evaluating: 0, workers: null, elsewhere: null } as const;
  for (now = 0; now <= 150_000; now += 200) display.listen({ type: "status", ...status, steps: now / 1_000 });
  display.close();
  const shown = lines.map((line) => stripVTControlCharacters(line).trim());
  assert.deepEqual(shown, ["round 1/0  0ms  1/2 updates  60.2 steps", "round 1/0  0ms  1/2 updates  120.4 steps"]);
});

test("the line of an open round says which machine has trained what", () => {
  const status = { round: 1, rounds: 2, time: 0, invited: 2, accepted: 1, evaluating: 0, steps: 3 };
  const line = statusLine({ ...status, workers: 5, elsewhere: "tasks: 31 on lab-1, 9 on lab-2; 0 begun again" });
  assert.equal(
    stripVTControlCharacters(line),
    "round 1/2  0ms  1/2 updates  3 steps  5 workers  tasks: 31 on lab-1, 9 on lab-2; 0 begun again",
  );
});

test("the command line that runs a scenario again leaves out what cannot change the result", () => {
  assert.equal(reproduce("scenarios/quickstart.ts", {}), "npx flame run scenarios/quickstart.ts");
  assert.equal(
    reproduce("my scenario.ts", { seed: 7, rounds: 2, data: "d.json", timingOnly: true, set: ["a.b=c d"] }),
    "npx flame run 'my scenario.ts' --seed 7 --rounds 2 --data d.json --timing-only --set 'a.b=c d'",
  );
});

test("rounds fit a terminal: columns that can be done without go first, then results stand below", () => {
  const evaluated = { task: factsOf("llm"), budgets: [8, 4, 2, 1] };
  const evaluations = evaluated.budgets.map((budget) => ({ budget, loss: 2.5, accuracy: 0.5, exactMatch: 0.25 }));
  const pace = { seconds: 12, rate: 3, remaining: 60 };
  const both = (most: number) => [
    header(evaluated, most),
    stripVTControlCharacters(roundLine({ ...row, evaluations }, evaluated, pace, most)),
  ];
  for (const most of [60, 80, 100, 110, 128, 140]) {
    for (const text of both(most)) {
      const lines = text.split("\n");
      assert.equal(lines.length, most < 106 ? 2 : 1, `${most}: ${text}`);
      assert.ok(
        lines.every((line) => line.length <= most),
        `${most}: ${text}`,
      );
    }
  }
  assert.match(both(140)[0]!, /rejected .*real {2}upd\/s/);
  assert.doesNotMatch(both(110)[0]!, /rejected|real|upd/);
  assert.equal(
    stripVTControlCharacters(roundLine({ ...row, evaluations: [] }, evaluated, pace, 80)).split("\n").length,
    1,
  );
});

test("prose breaks at blanks, and a word that is longer than a line stays whole", () => {
  assert.equal(wrapped("  one two three", 4, 9), "  one two\n    three");
  assert.equal(wrapped("a /very/long/path b", 0, 6), "a\n/very/long/path\nb");
  assert.equal(wrapped("\u001b[31mred\u001b[39m one", 0, 7), "\u001b[31mred\u001b[39m one");
});
