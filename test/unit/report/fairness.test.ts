import assert from "node:assert/strict";
import { test } from "node:test";
import { fairnessRows } from "../../../src/report/summary.ts";
import { playTable, tabular } from "../../support/tabular-run.ts";

const result = (budget: number, loss: number, accuracy: number) => ({ budget, loss, accuracy, exactMatch: accuracy });
const { rows } = await playTable(tabular({ rounds: { count: 1, cohort: 4 } }));
const rounds = (evaluations: ReturnType<typeof result>[], clients = {}) => [{ ...rows[1]!, evaluations, ...clients }];
const tiers = [
  { name: "phone", clients: 3, budget: 1 },
  { name: "laptop", clients: 1, budget: 4 },
];

test("clients are served what their budget comes to", () => {
  // Losses 2, 2, 2, 1: mean 1.75, variance (3·0.0625 + 0.5625) ÷ 4 = 0.1875; accuracies 0.2, 0.2, 0.2, 0.6.
  assert.deepEqual(fairnessRows({ tiers, rounds: rounds([result(4, 1, 0.6), result(1, 2, 0.2)]) }), [
    ["mean loss, phone", "2.000"],
    ["mean loss, laptop", "1.000"],
    ["mean loss of the tenth of the clients that is worst off", "2.000"],
    ["variance of the clients' losses", "0.1875"],
    // (0.2 + 0.2 + 0.2 + 0.6)² ÷ (4 · (3·0.04 + 0.36)) = 1.44 ÷ 1.92
    ["Jain's index of the clients' accuracies, 1 when all are equal", "0.750"],
  ]);
});

test("what a client has on examples of its own goes before what its budget comes to", () => {
  const clients = [{ client: "c-000", tier: "phone", examples: 3, loss: 5, accuracy: 0.2 }];
  const found = fairnessRows({ tiers, rounds: rounds([result(4, 1, 0.6), result(1, 2, 0.2)], { clients }) });
  assert.deepEqual(found[0], ["mean loss, phone", "3.000"]);
  assert.deepEqual(found[2]![1], "5.000");
});

test("nothing is said where a budget was not evaluated", () => {
  assert.deepEqual(fairnessRows({ tiers, rounds: rounds([result(4, 1, 0.6)]) }), []);
  assert.deepEqual(fairnessRows({ tiers, rounds: rounds([]) }), []);
});
