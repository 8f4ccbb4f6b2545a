import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseHTML } from "linkedom";
import { renderReport, writeReport } from "../../../src/report/report.ts";
import { type RunRecord, readRun } from "../../../src/report/run-folder.ts";
import { type FakeRun, fakeRunFolder } from "../../support/report-run-folder.ts";

const MARKS =
  "[aria-label=line] path, [aria-label=dot] path, [aria-label=dot] circle, [aria-label=rect] rect, [aria-label=bar] rect, [aria-label=cell] rect";

function folder(t: TestContext, options: FakeRun = {}): string {
  const path = fakeRunFolder(options);
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function rendered(t: TestContext, options: FakeRun = {}) {
  const html = readFileSync(writeReport(folder(t, options)), "utf8");
  return { html, document: parseHTML(html).document };
}

const pages = new Map<string, ReturnType<typeof rendered>>();

/** A report that tests only read, made once. */
function page(t: TestContext, options: FakeRun = {}) {
  const key = JSON.stringify(options);
  const made = pages.get(key) ?? rendered(t, options);
  pages.set(key, made);
  return made;
}

const idsOf = (document: { querySelectorAll(query: string): Iterable<{ id: string }> }): string[] =>
  [...document.querySelectorAll("figure")].map(({ id }) => id);

test("the report of a training run has every plot, each with marks, named axes and a caption", (t) => {
  const { document } = page(t);
  assert.deepEqual(idsOf(document), [
    "loss-by-round",
    "loss-by-time",
    "exact-match",
    "accuracy",
    "outcomes-by-round",
    "shares-by-tier",
    "durations",
    "traffic",
    "reach",
    "tracks",
    "activation",
    "effective-experts",
    "activation-history",
    "weights-by-round",
    "weights-by-tier",
  ]);
  for (const figure of document.querySelectorAll("figure")) {
    const { id } = figure;
    assert.ok(figure.querySelectorAll(MARKS).length > 0, `${id} has no marks`);
    assert.ok(figure.querySelector("[aria-label='x-axis label'] text")?.textContent, `${id} has no x label`);
    assert.ok(figure.querySelector("[aria-label='x-axis tick label'] text"), `${id} has no x ticks`);
    assert.ok(figure.querySelector("[aria-label$='y-axis tick label'] text"), `${id} has no y ticks`);
    assert.ok(figure.querySelector("figcaption")!.textContent!.length > 40, `${id} has no caption`);
    assert.ok(!/NaN|undefined|Infinity/.test(figure.outerHTML), `${id} draws what is not a number`);
  }
});

test("a plot has one line per budget, in the colours of its legend", (t) => {
  const { document } = page(t);
  const figure = document.querySelector("#exact-match")!;
  const strokes = [...figure.querySelectorAll("[aria-label=line]")].map((line) => line.getAttribute("stroke"));
  assert.deepEqual(strokes, ["var(--s0)", "var(--s1)", "var(--s2)", "var(--s3)"]);
  const legend = [...figure.querySelectorAll(".legend line")].map((line) => line.getAttribute("stroke"));
  assert.deepEqual(legend, strokes);
  const ends = [...figure.querySelectorAll(".end-label")].map(({ textContent }) => textContent);
  assert.deepEqual(ends, ["k = 8", "k = 4", "k = 2", "k = 1"]);
});

test("a run with a schedule shows its learning rate over rounds, and one without does not", (t) => {
  const { document } = page(t, { rounds: 4, scheduled: true });
  const figure = document.querySelector("#learning-rate")!;
  assert.equal(figure.querySelectorAll("[aria-label=dot] circle").length, 4);
  assert.match(
    figure.querySelector("figcaption")!.textContent!,
    /0\.0008 in round 1, 0\.0002 in round 4, at most 0\.0008/,
  );
  assert.equal(page(t).document.querySelector("#learning-rate"), null);
});

test("bars of a round are as high as its participations", (t) => {
  const { document } = page(t);
  const rects = [...document.querySelectorAll("#outcomes-by-round [aria-label=rect] rect")];
  const heightOf = (round: number) =>
    rects
      .filter((rect) => rect.querySelector("title")!.textContent!.startsWith(`round ${round}:`))
      .reduce((sum, rect) => sum + Number(rect.getAttribute("height")), 0);
  // 280 pixels less margins of 26 and 38 stand for the 16 invited in every round.
  for (let round = 1; round <= 20; round++) assert.ok(Math.abs(heightOf(round) - 216) < 0.5, `round ${round}`);
});

test("the heat map has a cell for every expert of every layer", (t) => {
  const { document } = page(t, { layers: 3, experts: 8 });
  assert.equal(document.querySelectorAll("#activation [aria-label=cell] rect").length, 24);
});

test("the page stands alone: no script, no address to load from", (t) => {
  const { html } = page(t);
  assert.doesNotMatch(html, /<script|<link|<img|@import|url\(|src=/);
  const addresses = html.match(/https?:\/\/[^"'\s<)]+/g) ?? [];
  assert.deepEqual([...new Set(addresses)], addresses.length === 0 ? [] : ["http://www.w3.org/2000/svg"]);
});

test("words of the scenario cannot become markup", (t) => {
  const { html } = page(t);
  assert.doesNotMatch(html, /<one>/);
  assert.match(html, /&#60;one&#62;/);
});

test("the head tells digest, command, expectations and the change at every budget", (t) => {
  const { document } = page(t);
  const text = document.body.textContent!.replaceAll("\u00a0", " ");
  for (const words of [
    "9f2c54b1e0a37d6688c1f0d2a4b3e5f7",
    "npx flame run scenario.json --engine onnx --merge 8",
    "Continued although its data file has changed since.",
    "1 of 2 held",
    "every expert trained did not hold",
    "expert 13 of layer 2 received no token",
    "flame(frequencyExponent=2)",
    "32 clients in 4 tiers",
  ]) {
    assert.ok(text.includes(words), `the report does not say "${words}"`);
  }
  assert.equal(document.querySelectorAll("table")[0]!.querySelectorAll("tbody tr").length, 4);
});

test("a timing-only run gives a report without learning plots that says so", (t) => {
  const { document } = page(t, { timingOnly: true });
  assert.deepEqual(idsOf(document), ["outcomes-by-round", "shares-by-tier", "durations", "traffic", "reach", "tracks"]);
  assert.match(document.body.textContent!, /without training, so there is nothing learned to show/);
});

test("the same run gives the same report, byte for byte", (t) => {
  assert.equal(rendered(t).html, page(t).html);
});

test("a report without participations.jsonl says that client tracks are missing", (t) => {
  const path = folder(t);
  rmSync(join(path, "participations.jsonl"));
  const html = readFileSync(writeReport(path), "utf8");
  assert.match(html, /no participations\.jsonl/);
  assert.doesNotMatch(html, /id="tracks"/);
});

test("a run that diverged is reported, with the loss named as not finite", (t) => {
  const run = readRun(folder(t));
  const rounds = run.rounds.map((row) =>
    row.round < 15 ? row : { ...row, evaluations: row.evaluations.map((e) => ({ ...e, loss: Number.NaN })) },
  );
  const html = renderReport({ ...run, rounds }, null);
  assert.match(html, /not finite/);
  assert.doesNotMatch(html, /="[^"]*NaN/);
});

test("a run that ended before its first round, or after one, still has a report", (t) => {
  const run = readRun(folder(t));
  const until = (rounds: number): RunRecord => ({ ...run, rounds: run.rounds.slice(0, rounds) });
  assert.match(renderReport(until(1), null), /ended before its first round closed/);
  assert.match(renderReport(until(2), null), /id="shares-by-tier"/);
});

test("the model of OLMoE's size, 16 layers of 64 experts, fits the report", (t) => {
  const { html, document } = page(t, { layers: 16, experts: 64, rounds: 30 });
  assert.equal(document.querySelectorAll("#activation [aria-label=cell] rect").length, 1_024);
  assert.equal(document.querySelectorAll("#activation-history").length, 0);
  assert.ok(html.length < 1.5e6);
});
