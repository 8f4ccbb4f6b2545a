/** Reports of studies: tables, differences, ranks, failures and plots, from cells that nobody ran. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHTML } from "linkedom";
import { InputError, ScenarioError } from "../../../src/base/errors.ts";
import { type Comparison, comparisonOf } from "../../../src/report/study/comparison.ts";
import { renderStudy } from "../../../src/report/study/page.ts";
import { conclusion, csvOf, formatComparison, jsonOf, markdownOf } from "../../../src/report/study/sheets.ts";
import type { AxisFacts } from "../../../src/study/matrix/plan.ts";
import {
  alphaAxis,
  cell,
  compared,
  dropoutAxis,
  recordOf,
  resultOf,
  stormy,
  three,
} from "../../support/study-cells.ts";

const near = (actual: number, expected: number, tolerance = 1e-12): void =>
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${actual}, not ${expected}`);

const pageOf = (comparison: Comparison) =>
  parseHTML(renderStudy(comparison, { title: "compare x", reproduce: "npx flame compare x" })).document;

test("a row has the mean and deviation over seeds, at each budget and in the mean of budgets", () => {
  const [loss] = compared(three).tables;
  assert.deepEqual(
    loss!.columns.map(({ measure }) => measure.id),
    ["loss-k8", "loss-k1", "loss-mean"],
  );
  const [k8, , mean] = loss!.columns.map(({ entries }) => entries.find(({ group }) => group.method === "flame")!);
  near(k8!.mean!, 1.03);
  // Of 0.01 … 0.05: √0.00025.
  near(k8!.deviation!, Math.sqrt(0.00025));
  near(mean!.mean!, 1.53);
});

test("the best of a column stands out, and nothing does where all are equal", () => {
  const text = formatComparison(compared(three), (value) => `<${value}>`);
  assert.match(text, /flame +<1\.030±0\.016>/);
  assert.doesNotMatch(text, /<50\.0/);
  assert.match(markdownOf(compared(three), "x", "again"), /\| flame \| \*\*1\.030 ± 0\.016\*\* \|/);
});

test("a difference is told from none, seed by seed, and from which side it is seen", () => {
  const verdicts = (against: string) =>
    compared(three, against).contrasts.map(({ group, verdict }) => [group.method, verdict]);
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

test("methods are compared under each condition, and each with itself without dropout, all in one correction", () => {
  const { contrasts } = compared(stormy, "flame", [alphaAxis, dropoutAxis]);
  const said = contrasts.map(
    ({ group, other, verdict }) => `${group.method} at ${group.condition}: ${verdict} than ${other}`,
  );
  assert.equal(contrasts.length, 6 + 8);
  assert.ok(said.includes("plain at alpha 0.1 · dropout 30 %: worse than flame"));
  assert.ok(said.includes("plain at alpha 10 · dropout 0 %: no difference seen than flame"));
  assert.ok(said.includes("flame at alpha 0.1 · dropout 60 %: worse than dropout 0 %"));
  // Holm over all: the smallest p of 14 is multiplied by 14, unless it is 0.
  const smallest = contrasts.map(({ test, adjusted }) => [test!.p, adjusted!] as const).sort((a, b) => a[0] - b[0])[0]!;
  near(smallest[1], Math.min(1, 14 * smallest[0]));
});

test("few seeds are said to be few, and have neither deviation nor interval", () => {
  const few = compared(three.filter(({ seed }) => seed < 3));
  assert.ok(few.contrasts.every(({ test: found, verdict }) => found === null && verdict === "too few seeds"));
  assert.match(conclusion(few), /2 seeds are too few/);
  assert.match(formatComparison(few, String), /flame +1\.015 /);
  assert.match(pageOf(few).body.textContent!, /Fewer than three seeds have no interval/);
});

test("a run that failed is in no mean, counted as failed, named, and a cross in the plot", () => {
  const cells = three.map((one) => {
    if (one.method !== "plain") return one;
    if (one.seed === 2) return cell("plain", 2, resultOf(2, Number.NaN));
    if (one.seed === 3) return cell("plain", 3, resultOf(3, 9, { stoppedAfter: 2 }));
    return one.seed === 4 ? cell("plain", 4, resultOf(4, 1, { violations: ["a client ended twice"] })) : one;
  });
  const comparison = compared(cells);
  const text = formatComparison(comparison, String);
  assert.match(text, /plain +1\.1\d+ \(2 of 5\)/);
  assert.match(text, /plain .*3 of 5$/m);
  assert.match(
    conclusion(comparison),
    /3 of 15 runs failed .*plain, seed 2 \(diverged\); plain, seed 3 \(stopped\); plain, seed 4 \(broke\)/,
  );
  // Two pairs are left, and too few.
  assert.equal(comparison.contrasts[0]!.failed, 3);
  const document = pageOf(comparison);
  assert.match(document.body.textContent!, /Invariants broken in 1 run.*a client ended twice/s);
  // Three columns of losses.
  assert.equal(document.querySelectorAll("#by-budget [aria-label=dot] path").length, 9);
});

test("mean ranks are told of five methods and more, over seeds, with what has to lie between them", () => {
  const five = [1, 2, 3, 4, 5].flatMap((seed) =>
    ["a", "b", "c", "d", "e"].map((method, at) => cell(method, seed, resultOf(seed, 1 + at / 10 + seed / 3))),
  );
  assert.equal(
    compared(
      five.filter(({ method }) => method !== "e"),
      "a",
    ).ranks,
    null,
  );
  const { ranks } = compared(five, "a");
  assert.deepEqual(
    ranks!.methods.map(({ rank }) => rank),
    [1, 2, 3, 4, 5],
  );
  // Demšar: q is 2.728 for five.
  near(ranks!.critical, 2.728 * Math.sqrt((5 * 6) / (6 * 5)), 1e-3);
  assert.match(formatComparison(compared(five, "a"), String), /a +1\.00 +b, c\n/);
  assert.ok(pageOf(compared(five, "a")).querySelector("#ranks") !== null);
});

test("a method that is not quite its source's is marked", () => {
  const cells = three.map((one) => (one.method === "other" ? { ...one, strategy: "hetlora" } : one));
  assert.match(markdownOf(compared(cells), "x", "again"), /other – rebuilt: constants/);
});

test("what stands for others is said", () => {
  const record = recordOf(three, [], ["flame stands for fedavg"]);
  assert.match(
    conclusion(comparisonOf(record, { against: "flame", target: null, pairs: [] })),
    /Flame stands for fedavg\./,
  );
});

test("unless a target is given, it is one that every run gets to", () => {
  const column = compared(three)
    .tables.find(({ id }) => id === "cost")!
    .columns.find(({ measure }) => measure.id === "time-to-target")!;
  assert.ok(column.entries.every(({ count, values }) => count === values.length));
  // The slowest starts at what it ends with plus 0.4 and loses a tenth a round.
  assert.equal(Math.max(...column.entries.flatMap(({ values }) => values.map((value) => value!))), 240_000);
});

test("the CSV has a line for every run and measure with a column for each axis, and JSON the numbers of the tables", () => {
  const lines = csvOf(compared(stormy, "flame", [alphaAxis, dropoutAxis]))
    .trimEnd()
    .split("\n");
  assert.equal(lines[0], "table,measure,method,data.partition.alpha,dropout,seed,value");
  assert.equal(lines.filter((line) => line.startsWith("loss,loss-k8,")).length, 60);
  assert.ok(lines.some((line) => /^loss,loss-k8,plain,10,0\.3,1,1\.38/.test(line)));
  const { tables, contrasts } = JSON.parse(jsonOf(compared(three), "again")) as {
    tables: { id: string; columns: { entries: { mean: number; interval: { low: number } }[] }[] }[];
    contrasts: { adjusted: number }[];
  };
  near(tables[0]!.columns[0]!.entries[0]!.mean, 1.03);
  assert.ok(tables[0]!.columns[0]!.entries[0]!.interval.low < 1.03);
  assert.ok(contrasts.every(({ adjusted }) => adjusted >= 0 && adjusted <= 1));
});

test("two axes make a map, and every axis of numbers lines with their intervals", () => {
  const document = pageOf(compared(stormy, "flame", [alphaAxis, dropoutAxis]));
  const map = document.querySelector("#map")!;
  // Two methods, two alphas, three rates.
  assert.equal(map.querySelectorAll("[aria-label=cell] rect").length, 12);
  const figure = document.querySelector("#loss-k8-by-dropout")!;
  assert.match(figure.querySelector("[aria-label='x-axis label']")!.textContent!, /dropout rate \(%\)/);
  // A line and a band for each of two methods in each of two panels.
  assert.equal(figure.querySelectorAll("[aria-label=line] path").length, 4);
  assert.equal(figure.querySelectorAll("[aria-label=area] path").length, 4);
  assert.ok(document.querySelector("#loss-k8-by-data-partition-alpha") !== null);
  for (const found of document.querySelectorAll("figure")) assert.doesNotMatch(found.outerHTML, /NaN|undefined/);
});

test("settings of one method are compared with each other, and are a line", () => {
  const axis: AxisFacts = { ...alphaAxis, role: "method" };
  const cells = [1, 2, 3].flatMap((seed) =>
    axis.levels.map((level) =>
      cell(level.label, seed, resultOf(seed, 1 + level.value! / 10 + seed / 5), { at: { [axis.id]: level } }),
    ),
  );
  const comparison = compared(cells, "alpha 0.1", [axis]);
  assert.match(conclusion(comparison), /Alpha 10 is worse than alpha 0\.1\./);
  assert.equal(
    pageOf(comparison).querySelectorAll("#loss-mean-by-data-partition-alpha [aria-label=line] path").length,
    1,
  );
});

test("one measure is plotted against another, and one that is not there is named", () => {
  const record = recordOf(three);
  const comparison = comparisonOf(record, { against: "flame", target: null, pairs: ["flops:loss-k1"] });
  assert.match(
    pageOf(comparison).querySelector("#loss-k1-against-flops figcaption")!.textContent!,
    /Small dots are runs/,
  );
  assert.throws(
    () => comparisonOf(record, { against: "flame", target: null, pairs: ["flops:beauty"] }),
    (error) => error instanceof ScenarioError && /--plot: there is no beauty, expected loss-k8, /.test(error.message),
  );
});

test("without training rounds are compared, as ratios of their times", () => {
  const timing = [1, 2, 3].flatMap((seed) =>
    ["flame", "slow"].map((method) => {
      const virtualTime = 240_000 * (method === "slow" ? 1.5 : 1) * seed;
      const found = resultOf(seed, 1, { evaluations: [], costs: null, virtualTime });
      return cell(method, seed, { ...found, curve: [] });
    }),
  );
  const comparison = compared(timing);
  assert.match(formatComparison(comparison, String), /Against flame\n.*slow +\+50\.0 % .*worse/s);
  const document = pageOf(comparison);
  assert.match(document.body.textContent!, /simulated timing only/);
  assert.equal(document.querySelector("#by-budget"), null);
});

test("the page escapes names, and a study without a finished run has none", () => {
  const evil = three.map((one) => (one.method === "plain" ? { ...one, method: "<b>plain" } : one));
  const html = renderStudy(compared(evil), { title: "x", reproduce: "again" });
  assert.ok(!html.includes("<b>plain"));
  assert.throws(() => compared(three.map((one) => ({ ...one, result: null }))), InputError);
});
