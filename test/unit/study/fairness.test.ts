import assert from "node:assert/strict";
import { test } from "node:test";
import { trainingFlops } from "../../../src/model/accounting.ts";
import type { RoundMetrics } from "../../../src/records/metrics.ts";
import { prepareRun } from "../../../src/run/run.ts";
import { fairnessOf, jainIndex, servedIn } from "../../../src/study/fairness.ts";
import { runCell } from "../../../src/study/run-cell.ts";
import { openedLlm } from "../../support/opened-llm.ts";
import { timingOnly } from "../../support/scenarios.ts";

const near = (actual: number | null, expected: number): void =>
  assert.ok(Math.abs(actual! / expected - 1) < 1e-9, `${actual}, not ${expected}`);

test("Jain's index is 1 for equals, and 1 ÷ n when one has everything", () => {
  near(jainIndex([0.3, 0.3, 0.3]), 1);
  near(jainIndex([0, 0, 0, 5]), 0.25);
  // 6² ÷ (3 · 14)
  near(jainIndex([1, 2, 3]), 36 / 42);
  assert.equal(jainIndex([0, 0]), null);
});

test("tiers have the means of their clients, and the worst tenth is rounded up", () => {
  const served = Array.from({ length: 11 }, (_, at) => ({ tier: at < 9 ? "a" : "b", loss: at, accuracy: 0.5 }));
  const { tiers, worstTenth, variance, jain } = fairnessOf(served);
  assert.deepEqual(tiers, [
    { tier: "a", loss: 4 },
    { tier: "b", loss: 9.5 },
  ]);
  // Of 0 … 10: the two largest, and (n² − 1) ÷ 12.
  assert.equal(worstTenth, 9.5);
  near(variance, 10);
  near(jain, 1);
});

test("a loss that is no number is told as none, not left out of the mean", () => {
  const one = (loss: number) => ({ tier: "a", loss, accuracy: 0 });
  assert.deepEqual(fairnessOf([one(1), one(Number.NaN)]).tiers, [{ tier: "a", loss: null }]);
});

test("clients are served as their budgets are, and not at all where one was not evaluated", async () => {
  const { fleet } = await prepareRun(timingOnly(), {});
  const at = (budget: number) => ({ budget, loss: budget, accuracy: 0.1 * budget, exactMatch: 0 });
  const budgets = [...new Set(fleet.budget)];
  const row = (budget: readonly number[], clients?: object) =>
    ({ evaluations: budget.map(at), ...clients }) as unknown as RoundMetrics;
  const served = servedIn(row(budgets), fleet)!;
  assert.deepEqual(
    served.map(({ loss }) => loss),
    [...fleet.budget],
  );
  assert.equal(servedIn(row(budgets.slice(1)), fleet), null);
  const clients = [{ client: "c-000", tier: "phone", examples: 2, loss: 9, accuracy: 0 }];
  assert.equal(servedIn(row(budgets, { clients }), fleet)![0]!.loss, 9);
});

test("work is what training takes by formula, and useful are the bytes of updates that count", async () => {
  const fleet = [{ name: "a", clients: 4, budget: 2, tokensPerSecond: 100, uplink: 1e6, dropout: 0 }];
  const scenario = timingOnly({
    fleet,
    data: { sizes: { examplesPerClient: 10, tokensPerExample: 30 } },
    rounds: { count: 3, cohort: 2, overSelection: 1.5 },
  });
  const { task } = await prepareRun(scenario, {});
  const { config } = openedLlm(task);
  const { bytes } = task;
  const quiet = { engine: "auto", reproduce: "", signal: new AbortController().signal, onRound: () => {} };
  const cell = (await runCell(scenario, { ...quiet, out: null, source: null, stopHopeless: false }))!.cell;
  const { costs } = cell;
  // Ten examples of 30 tokens, once.
  near(costs!.flops, 300 * trainingFlops(config, 2, scenario.data.lora.rank));
  assert.equal(costs!.memory, null);
  assert.equal(cell.counted, 6);
  assert.equal(costs!.usefulBytes, cell.counted * (bytes.download + bytes.upload));
  assert.ok(costs!.usefulBytes < cell.bytes);
});
