import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseHTML } from "linkedom";
import { InputError } from "../../../src/base/errors.ts";
import { estimate } from "../../../src/report/confidence.ts";
import { formatSweep, renderSweep, writeSweepReport } from "../../../src/report/sweep.ts";
import { type Cell, cellFrom, tierFairness } from "../../../src/study/cell.ts";
import { factsOf } from "../../../src/tasks/facts.ts";
import { fakeRun } from "../../support/report-run-folder.ts";

const target = { budget: 8, loss: 2 };

function cell(strategy: string, dropout: number, seed: number): Cell {
  const harm = strategy === "flame" ? 0.2 : 0.7;
  const noise = ((seed * 7919 + dropout * 1000) % 13) / 130;
  const loss = 1.5 + harm * dropout + noise;
  return {
    strategy,
    dropout,
    seed,
    rounds: 20,
    virtualTime: 2.4e6,
    bytes: 3e8,
    invited: 320,
    counted: Math.round(320 * (1 - dropout)),
    distinctClients: Math.round(32 * (1 - dropout ** 3)),
    clients: 32,
    tiers: [
      { tier: "phone", invited: 200, counted: Math.round(200 * (1 - dropout)) },
      { tier: "laptop", invited: 120, counted: Math.round(120 * (1 - dropout / 3)) },
    ],
    evaluations: [8, 4, 1].map((budget) => ({
      budget,
      loss: loss + 0.1 / budget,
      accuracy: 0.6 - 0.1 * dropout,
      exactMatch: 0.5 - 0.3 * harm * dropout - noise,
    })),
    timeToTarget: dropout > 0.6 && strategy === "fedavg" ? null : 6e5 * (1 + dropout),
    costs: { flops: 5e9, memory: 2e8, usefulBytes: 2e8 },
    fairness: null,
    violations: [],
  };
}

const matrix = ["flame", "fedavg"].flatMap((strategy) =>
  [0, 0.1, 0.3, 0.5, 0.7].flatMap((dropout) => [1, 2, 3, 4, 5].map((seed) => cell(strategy, dropout, seed))),
);
const facts = {
  task: factsOf("llm"),
  name: "stress four-tiers",
  target,
  reproduce: "npx flame stress four-tiers.ts --seeds 5",
};

test("an interval is as wide as the published table of Student's t says", () => {
  // The standard error of the numbers 1 to n is √((n + 1) ÷ 12).
  const quantile = (degrees: number, confidence?: number): number => {
    const values = Array.from({ length: degrees + 1 }, (_, i) => i + 1);
    return estimate(values, confidence)!.half! / Math.sqrt((degrees + 2) / 12);
  };
  // 97.5 %, from the usual table of critical values, to its three decimals.
  for (const [degrees, value] of [
    [1, 12.706],
    [2, 4.303],
    [3, 3.182],
    [4, 2.776],
    [9, 2.262],
    [10, 2.228],
    [29, 2.045],
    [30, 2.042],
    [120, 1.98],
  ]) {
    assert.ok(Math.abs(quantile(degrees!) - value!) < 6e-4, `${degrees} degrees: ${quantile(degrees!)}`);
  }
  assert.ok(Math.abs(quantile(4, 0.9) - 2.132) < 6e-4);
});

test("an estimate of a few values has the interval one computes by hand", () => {
  // Mean 3, sample standard deviation √2.5, so 2.776 · √(2.5 ÷ 5) = 1.963.
  const { mean, half, count } = estimate([1, 2, 3, 4, 5])!;
  assert.deepEqual([mean, count], [3, 5]);
  assert.ok(Math.abs(half! - 1.9634) < 1e-3);
  assert.deepEqual(estimate([7]), { mean: 7, half: null, count: 1 });
  assert.equal(estimate([Number.NaN]), null);
  assert.equal(estimate([1, Number.NaN, 3])!.count, 2);
});

test("fairness is one when tiers count alike and one half when one of two never counts", () => {
  const between = (a: number, b: number) =>
    tierFairness({
      ...matrix[0]!,
      tiers: [
        { tier: "a", invited: 10, counted: a },
        { tier: "b", invited: 20, counted: b },
        { tier: "never invited", invited: 0, counted: 0 },
      ],
    });
  assert.equal(between(5, 10), 1);
  assert.equal(between(5, 0), 0.5);
  assert.equal(between(0, 0), null);
});

test("a cell is made from a run's metrics", () => {
  const { metrics } = fakeRun();
  const made = cellFrom(metrics, { strategy: "flame", dropout: 0.1, seed: 3, clients: 32, target });
  const reached = metrics.find(({ evaluations }) => evaluations[0]!.loss <= 2)!;
  assert.equal(made.timeToTarget, reached.closedAt);
  assert.equal(made.rounds, 20);
  assert.equal(made.invited, 320);
  assert.equal(made.distinctClients, 32);
  assert.deepEqual(made.evaluations, metrics.at(-1)!.evaluations);
  assert.equal(
    made.tiers.reduce((sum, { counted }) => sum + counted, 0),
    made.counted,
  );
  const never = cellFrom(metrics, {
    strategy: "flame",
    dropout: 0.1,
    seed: 3,
    clients: 32,
    target: { budget: 8, loss: 0.1 },
  });
  assert.equal(never.timeToTarget, null);
});

test("the report of a matrix has a line and a band per strategy in every plot", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "flame-sweep-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const { document } = parseHTML(readFileSync(writeSweepReport(folder, matrix, facts), "utf8"));
  const figures = [...document.querySelectorAll("figure")];
  assert.deepEqual(
    figures.map(({ id }) => id),
    ["loss-k8", "loss-k1", "exact-match-k8", "exact-match-k1", "time-to-target", "round-time", "reach", "fairness"],
  );
  for (const figure of figures) {
    assert.equal(figure.querySelectorAll("[aria-label=line] path").length, 2, figure.id);
    assert.equal(figure.querySelectorAll("[aria-label=area] path").length, 2, figure.id);
    assert.match(figure.querySelector("[aria-label='x-axis label']")!.textContent!, /dropout rate \(%\)/);
    assert.doesNotMatch(figure.outerHTML, /NaN|undefined/);
  }
  assert.match(document.querySelector("#time-to-target figcaption")!.textContent!, /45 of 50 runs get there/);
  assert.equal(document.querySelectorAll("table tbody tr").length, 10);
});

test("an axis is wide enough that a thousandth is no cliff, and no interval reaches beyond what can be", () => {
  const alike = matrix.map((c) => ({
    ...c,
    distinctClients: c.seed === 1 ? c.clients - 8 : c.clients,
    tiers: [
      { tier: "a", invited: 100, counted: 100 },
      { tier: "b", invited: 100, counted: 98 - c.seed },
    ],
  }));
  const { document } = parseHTML(renderSweep(alike, facts));
  const ticks = (figure: string) =>
    [...document.querySelectorAll(`#${figure} [aria-label="y-axis tick label"] text`)].map(
      ({ textContent }) => textContent,
    );
  assert.deepEqual([ticks("fairness")[0], ticks("fairness").at(-1)], ["0.90", "1.00"]);
  assert.equal(ticks("reach").at(-1), "100");
});

test("variants are compared seed by seed: a small difference that is always there makes a winner, a large spread none", () => {
  const loss = (better: number, noise: number) =>
    matrix.map((c) => {
      const own = c.strategy === "flame" ? -better : 0;
      const luck = noise * (c.seed % 2 === 0 ? 1 : -1) * (c.strategy === "flame" ? 1 : -1);
      return { ...c, evaluations: c.evaluations.map((e) => ({ ...e, loss: 2 + c.seed / 2 + own + luck })) };
    });
  const tile = (cells: Cell[]) =>
    parseHTML(renderSweep(cells, facts)).document.querySelector(".tiles > div")!.textContent!;
  // Seeds lie half a nat apart, the variants 0.05: only the pairs show it.
  assert.match(tile(loss(0.05, 0)), /flame.*fedavg is next: 0\.050 ± 0\.000 below, seed by seed/s);
  assert.match(tile(loss(0.05, 0.4)), /not told apart.*0\.\d+ ± \d\.\d+ below, seed by seed/s);
});

test("the table for terminals has mean and interval per strategy and rate", () => {
  const lines = formatSweep(matrix, target, factsOf("llm")).split("\n");
  assert.equal(lines.length, 12);
  const losses = matrix.filter((c) => c.strategy === "flame" && c.dropout === 0.3).map((c) => c.evaluations[0]!.loss);
  const { mean, half } = estimate(losses)!;
  const line = lines.find((text) => /^flame\s+30 %/.test(text))!;
  assert.ok(line.includes(`${mean.toFixed(3)} ± ${half!.toFixed(3)}`), line);
  assert.match(lines.find((text) => /^fedavg\s+70 %/.test(text))!, /–/);
});

test("a broken invariant stands at the head of the report", () => {
  const broken = matrix.map((c, i) => (i === 3 ? { ...c, violations: ["participation 12 ended twice"] } : c));
  const html = renderSweep(broken, facts);
  assert.match(html, /Invariants broken in 1 run/);
  assert.match(html, /participation 12 ended twice/);
});

test("timing-only matrices and single seeds are reported as what they are", () => {
  const timing = matrix.filter(({ seed }) => seed === 1).map((c) => ({ ...c, evaluations: [], timeToTarget: null }));
  const html = renderSweep(timing, { name: "timing", task: factsOf("llm") });
  assert.match(html, /simulated timing only/);
  assert.match(html, /fewer than three seeds/);
  assert.match(html, /id="fairness"/);
  assert.doesNotMatch(html, /id="loss/);
});

test("a matrix without a finished run is refused", () => {
  assert.throws(() => renderSweep([], facts), InputError);
});
