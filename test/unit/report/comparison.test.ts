import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHTML } from "linkedom";
import { type ComparedCell, compareMethods } from "../../../src/report/comparison.ts";
import { renderComparison } from "../../../src/report/comparison-page.ts";
import { conclusion, csvOf, formatComparison, jsonOf, markdownOf } from "../../../src/report/comparison-sheets.ts";
import { holm, pairedTest } from "../../../src/report/confidence.ts";
import { factsOf } from "../../../src/tasks/facts.ts";

const near = (actual: number, expected: number, tolerance = 1e-12): void =>
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${actual}, not ${expected}`);

test("the paired test is the one of scipy.stats.ttest_1samp", () => {
  const known: [differences: number[], p: number, half: number][] = [
    [[0.1, 0.2, 0.15, 0.05, 0.3], 0.020475874420910683, 0.11941941940499902],
    [[0.02, -0.01, 0.03, 0.005], 0.2887985136300853, 0.02784640517123244],
    [[1, 2, 4], 0.11808289631180308, 3.794583033596759],
    [[0.3, -0.1, 0.25, 0.4, 0.1, -0.05, 0.2, 0.15, 0.33, 0.01], 0.015083212198018756, 0.12010281694159433],
  ];
  for (const [differences, p, half] of known) {
    const found = pairedTest(differences)!;
    near(found.p, p, 1e-10);
    near(found.half!, half, 1e-10);
  }
});

test("with two degrees of freedom the test is a closed form", () => {
  // P(|T| > t) = 1 − t ÷ √(2 + t²); here the mean is 2 and the standard error 1 ÷ √3.
  const t = 2 * Math.sqrt(3);
  near(pairedTest([1, 2, 3])!.p, 1 - t / Math.sqrt(2 + t ** 2));
});

test("what is always the same is no difference, or a certain one; two seeds and NaN are no test", () => {
  assert.equal(pairedTest([0, 0, 0])!.p, 1);
  assert.equal(pairedTest([0.5, 0.5, 0.5])!.p, 0);
  assert.equal(pairedTest([0.1, 0.2]), null);
  assert.equal(pairedTest([0.1, 0.2, Number.NaN]), null);
});

test("Holm's correction multiplies the smallest most, and never lets a larger one pass below a smaller", () => {
  // Sorted 0.005 · 5, 0.01 · 4, 0.03 · 3, 0.04 · 2 raised to the 0.09 before it, 0.9 · 1.
  const adjusted = holm([0.01, 0.04, 0.03, 0.005, 0.9]);
  for (const [at, expected] of [0.04, 0.09, 0.09, 0.025, 0.9].entries()) near(adjusted[at]!, expected);
  assert.deepEqual(holm([0.7, 0.8]), [1, 1]);
  assert.deepEqual(holm([]), []);
});

/** Losses at k = 8 and k = 1 are `loss` and `loss + 1`. */
function cell(strategy: string, seed: number, loss: number): ComparedCell {
  const evaluations = [8, 1].map((budget) => ({
    budget,
    loss: budget === 8 ? loss : loss + 1,
    accuracy: 0.5,
    exactMatch: 0.25,
  }));
  return {
    strategy,
    dropout: 0,
    seed,
    rounds: 4,
    virtualTime: 240_000,
    bytes: 3e8,
    invited: 40,
    counted: 40,
    distinctClients: 10,
    clients: 10,
    tiers: [{ tier: "phone", invited: 40, counted: 40 }],
    evaluations,
    timeToTarget: null,
    costs: { flops: 5e9, memory: 2e8, usefulBytes: 2e8 },
    fairness: null,
    violations: [],
    curve: [0, 2, 4].map((round) => ({
      round,
      closedAt: round * 60_000,
      evaluations: evaluations.map((result) => ({ ...result, loss: result.loss + (4 - round) / 10 })),
    })),
  };
}

/** `plain` is worse by about 0.1, `other` differs by chance. */
const three = [1, 2, 3, 4, 5].flatMap((seed) => [
  cell("flame", seed, 1 + seed / 100),
  cell("plain", seed, 1.1 + seed / 100 + (seed % 2) / 1_000),
  cell("other", seed, 1 + seed / 100 + (seed % 2 === 0 ? 0.02 : -0.013)),
]);
const compared = (cells: readonly ComparedCell[], against = "flame") =>
  compareMethods(cells, { against, target: null, marks: [], task: factsOf("llm") });

test("a row has the mean and deviation over seeds, at each budget and in the mean of budgets", () => {
  const [loss] = compared(three).tables;
  assert.deepEqual(
    loss!.columns.map(({ id }) => id),
    ["k8", "k1", "mean"],
  );
  const [k8, , mean] = loss!.columns.map(({ entries }) => entries.find(({ method }) => method === "flame")!);
  near(k8!.mean!, 1.03);
  // Of 0.01 … 0.05: √0.00025.
  near(k8!.deviation!, Math.sqrt(0.00025));
  near(mean!.mean!, 1.53);
});

test("the best of a column stands out, and nothing does where all are equal", () => {
  const text = formatComparison(compared(three), (value) => `<${value}>`);
  assert.match(text, /flame +<1\.030±0\.016>/);
  assert.doesNotMatch(text, /<50\.0/);
  assert.match(
    markdownOf(compared(three), "compare x", "npx flame compare x"),
    /\| flame \| \*\*1\.030 ± 0\.016\*\* \|/,
  );
});

test("a difference is told from none, seed by seed, and from which side it is seen", () => {
  const verdicts = (against: string) =>
    compared(three, against).contrasts.map(({ method, verdict }) => [method, verdict]);
  assert.deepEqual(verdicts("flame"), [
    ["plain", "worse"],
    ["other", "no difference seen"],
  ]);
  assert.deepEqual(verdicts("plain"), [
    ["flame", "better"],
    ["other", "better"],
  ]);
  assert.equal(conclusion(compared(three)), "Plain is worse than flame; no difference from flame is seen for other.");
});

test("few seeds are said to be few", () => {
  const few = compared(three.filter(({ seed }) => seed < 3));
  assert.ok(few.contrasts.every(({ test: found, verdict }) => found === null && verdict === "too few seeds"));
  assert.match(conclusion(few), /2 seeds are too few/);
});

test("a run that diverged is in no mean, and named", () => {
  const cells = three.map((one) =>
    one.strategy === "plain" && one.seed === 2 ? { ...cell("plain", 2, Number.NaN), rounds: 4 } : one,
  );
  const comparison = compared(cells);
  assert.match(formatComparison(comparison, String), /plain +1\.1\d+±\d\.\d+ \(4 of 5\)/);
  assert.match(conclusion(comparison), /diverged or broke: plain with seed 2/);
});

test("a method that is not quite its source's is marked", () => {
  const marks = [{ method: "other", certainty: "rebuilt: its weights" }];
  const comparison = compareMethods(three, { against: "flame", target: null, marks, task: factsOf("llm") });
  assert.match(markdownOf(comparison, "x", "again"), /other – rebuilt: its weights\./);
});

test("unless a target is given, it is one that every run gets to", () => {
  const time = compared(three)
    .tables.find(({ id }) => id === "cost")!
    .columns.find(({ id }) => id === "time-to-target")!;
  assert.ok(time.entries.every(({ count, runs }) => count === runs.length));
  // The slowest starts at what it ends with plus 0.4 and loses a tenth a round.
  assert.equal(Math.max(...time.entries.flatMap(({ runs }) => runs.map(({ value }) => value!))), 240_000);
});

test("the CSV has a line for every run and column, and JSON the numbers of the tables", () => {
  const lines = csvOf(compared(three)).trimEnd().split("\n");
  assert.equal(lines[0], "table,column,method,seed,value");
  assert.equal(lines.filter((line) => line.startsWith("loss,k8,")).length, 15);
  assert.ok(lines.includes("loss,k8,flame,1,1.01"));
  const { tables, contrasts } = JSON.parse(jsonOf(compared(three), "again")) as {
    tables: { id: string; columns: { entries: { mean: number }[] }[] }[];
    contrasts: { adjusted: number }[];
  };
  near(tables[0]!.columns[0]!.entries[0]!.mean, 1.03);
  assert.ok(contrasts.every(({ adjusted }) => adjusted >= 0 && adjusted <= 1));
});

test("the page shows tables and figures, and escapes names", () => {
  const evil = three.map((one) => (one.strategy === "plain" ? { ...one, strategy: "<b>plain" } : one));
  const html = renderComparison(compared(evil), { name: "compare x", reproduce: "npx flame compare x" });
  const { document } = parseHTML(html);
  assert.equal(document.querySelectorAll("svg.plot").length, 3);
  assert.ok([...document.querySelectorAll("td b")].some((cell) => cell.textContent === "1.030 ± 0.016"));
  assert.ok(!html.includes("<b>plain"));
});
