import assert from "node:assert/strict";
import { test } from "node:test";
import type { RoundMetrics } from "../../../src/records/metrics.ts";
import {
  accuracyReaches,
  accuracyRises,
  everyExpertTrained,
  everyRoundAggregated,
  everyTierCounted,
  expectThat,
  type Findings,
  finishesWithin,
  lossFalls,
  participationAtLeast,
} from "../../../src/scenario/expect.ts";

const row = (round: number, changes: Partial<RoundMetrics> = {}): RoundMetrics => ({
  round,
  startedAt: 0,
  closedAt: round * 1_000,
  invited: 0,
  counted: 0,
  late: 0,
  dropped: 0,
  rejected: 0,
  aggregated: true,
  tiers: [],
  trainLoss: null,
  downloadBytes: 0,
  uploadBytes: 0,
  distinctClients: 0,
  evaluations: [],
  activation: [],
  weights: [],
  ...changes,
});

const at = (budget: number, loss: number, exactMatch = 0) => ({ budget, loss, accuracy: 0, exactMatch });

const findings = (rows: readonly RoundMetrics[], expertTokens: number[][] = []): Findings => ({
  rows,
  clients: 10,
  expertTokens,
});

test("the loss has to fall at every budget, or at the one that is named", () => {
  const rows = [
    row(0, { evaluations: [at(2, 3), at(1, 3)] }),
    row(1),
    row(2, { evaluations: [at(2, 2), at(1, 2.95)] }),
  ];
  assert.equal(lossFalls({ by: 0.1 }).check(findings(rows)).holds, false);
  assert.deepEqual(lossFalls({ by: 0.1, at: 2 }).check(findings(rows)), { holds: true, found: "k=2 3.000 → 2.000" });
  assert.equal(lossFalls({ by: 0.1, at: 4 }).check(findings(rows)).holds, false);
});

test("accuracy has to be reached in the last evaluation, whatever it was before", () => {
  const rows = [
    row(0, { evaluations: [at(2, 1, 0.9), at(1, 1, 0.9)] }),
    row(1, { evaluations: [at(2, 1, 0.8), at(1, 1, 0.7)] }),
    row(2),
  ];
  assert.equal(accuracyReaches({ share: 0.75 }).check(findings(rows)).holds, false);
  assert.deepEqual(accuracyReaches({ share: 0.8, at: 2 }).check(findings(rows)), { holds: true, found: "k=2 80 %" });
  assert.equal(accuracyReaches({ share: 0.1, at: 4 }).check(findings(rows)).holds, false);
  assert.equal(accuracyReaches({ share: 0 }).check(findings([])).holds, false);
});

test("a loss that is no number has not fallen", () => {
  const rows = [row(0, { evaluations: [at(1, 3)] }), row(1, { evaluations: [at(1, Number.NaN)] })];
  assert.equal(lossFalls({ by: 0.1 }).check(findings(rows)).holds, false);
});

test("a run that was evaluated once says nothing about learning", () => {
  const rows = [row(0, { evaluations: [at(1, 3)] })];
  assert.match(lossFalls({ by: 0.1 }).check(findings(rows)).found, /not evaluated before and after/);
});

test("accuracy has to rise", () => {
  const rows = [row(0, { evaluations: [at(1, 3, 0.1)] }), row(1, { evaluations: [at(1, 3, 0.15)] })];
  assert.equal(accuracyRises({ by: 0.04 }).check(findings(rows)).holds, true);
  assert.equal(accuracyRises({ by: 0.06 }).check(findings(rows)).holds, false);
});

test("an expert without tokens is named by layer and number", () => {
  assert.deepEqual(
    everyExpertTrained().check(
      findings(
        [],
        [
          [5, 1],
          [0, 6],
        ],
      ),
    ),
    { holds: false, found: "no tokens for layer.expert 1.0" },
  );
});

test("participation is counted over all rounds and tiers", () => {
  const tiers = (phone: number) => [
    { tier: "phone", invited: 2, counted: phone, late: 0, dropped: 0, rejected: 0 },
    { tier: "edge", invited: 2, counted: 2, late: 0, dropped: 0, rejected: 0 },
  ];
  const rows = [
    row(1, { invited: 4, counted: 2, tiers: tiers(0) }),
    row(2, { invited: 4, counted: 3, tiers: tiers(1) }),
  ];
  assert.deepEqual(participationAtLeast(0.6).check(findings(rows)), { holds: true, found: "5 of 8 (62.5 %)" });
  assert.equal(everyTierCounted().check(findings(rows)).holds, true);
  assert.equal(everyTierCounted().check(findings(rows.slice(0, 1))).found, "not phone");
});

test("rounds that failed and time that passed are claims too", () => {
  const rows = [row(0, { aggregated: false }), row(1), row(2, { aggregated: false })];
  assert.equal(everyRoundAggregated().check(findings(rows)).found, "not 2");
  assert.equal(finishesWithin(2_000).check(findings(rows)).holds, true);
  assert.equal(finishesWithin(1_999).check(findings(rows)).holds, false);
});

test("an author's own claim is a function of the findings", () => {
  assert.equal(expectThat("three rows", ({ rows }) => rows.length === 3).check(findings([])).holds, false);
});
