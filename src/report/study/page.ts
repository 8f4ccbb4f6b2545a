/** The report of a study: its tables, and what they look like. */
import { join } from "node:path";
import { writeAtomically } from "../../base/disk.ts";
import { titleOf } from "../../study/matrix/plan.ts";
import { plural, whole } from "../numbers.ts";
import { escapeHtml, renderNote, renderPage, renderTable, type Section } from "../page.ts";
import { fewest } from "../statistics/intervals.ts";
import { axisFigures } from "./axes.ts";
import type { Comparison } from "./comparison.ts";
import { budgetFigures, curveFigures, pairFigures, rankFigures } from "./figures.ts";
import { conclusion, csvOf, isMain, jsonOf, markdownOf, type Sheet, sheetsOf } from "./sheets.ts";

interface PageFacts {
  readonly title: string;
  /** The command that runs the study again. */
  readonly reproduce: string;
}

/** Writes `report.html`, `comparison.md`, `comparison.csv` and `comparison.json`. @returns the path of the report */
export function writeStudyReport(comparison: Comparison, facts: PageFacts): string {
  const { folder } = comparison.record;
  const { title, reproduce } = facts;
  writeAtomically(join(folder, "comparison.md"), markdownOf(comparison, title, reproduce));
  writeAtomically(join(folder, "comparison.csv"), csvOf(comparison));
  writeAtomically(join(folder, "comparison.json"), jsonOf(comparison, reproduce));
  const path = join(folder, "report.html");
  writeAtomically(path, renderStudy(comparison, facts));
  return path;
}

/** @internal */
export function renderStudy(comparison: Comparison, { title, reproduce }: PageFacts): string {
  const { methods, conditions, seeds, budgets, groups, record } = comparison;
  const sheets = sheetsOf(comparison);
  const isFirst = ({ id }: Sheet): boolean => id === sheets[0]!.id || isMain(id);
  const panels = (wanted: (sheet: Sheet) => boolean): string => sheets.filter(wanted).map(panel).join("\n");
  const axes = axisFigures(comparison);
  const looks = [
    ...(axes.length === 0 || conditions.length < 3 ? budgetFigures(comparison) : []),
    ...curveFigures(comparison),
    ...pairFigures(comparison),
    ...rankFigures(comparison),
  ];
  const meaning = "Dots are single runs, ticks and lines means over seeds, bars and bands 95 % confidence intervals.";
  const sections: Section[] = [
    {
      title: "The table",
      lead: "Mean ± standard deviation over seeds; every method meets the same data, clients, devices and luck. The best is bold.",
      html: panels(isFirst),
    },
    ...(looks.length === 0 ? [] : [{ title: "Methods", lead: meaning, figures: looks }]),
    ...(axes.length === 0 ? [] : [{ title: "Against what is varied", lead: meaning, figures: axes }]),
    { title: "All numbers", html: panels((sheet) => !isFirst(sheet)) },
    { title: "About this study", html: `<p>Reproduce:</p><pre>${escapeHtml(reproduce)}</pre>` },
  ].filter(({ html }) => html !== "");
  const done = groups.reduce((sum, { runs }) => sum + runs.length, 0);
  return renderPage({
    title,
    eyebrow: "flame-sim · study",
    question: record.question,
    chips: [
      plural(methods.length, "method", "methods"),
      ...(conditions.length > 1 ? [plural(conditions.length, "condition", "conditions")] : []),
      plural(seeds.length, "seed", "seeds"),
      done === record.cells.length
        ? plural(done, "run", "runs")
        : `${whole(done)} of ${whole(record.cells.length)} runs`,
    ],
    summary: [
      renderNote(conclusion(comparison)),
      ...(budgets.length > 0
        ? []
        : [renderNote("These runs simulated timing only, so there is no quality to compare.")]),
      ...(seeds.length < fewest
        ? [renderNote("Fewer than three seeds have no interval: the plots show them as they are.")]
        : []),
      broken(comparison),
    ].join("\n"),
    sections,
    footer:
      "Intervals are Student's t over seeds, on the logarithmic scale for what is above 0 and on the logit scale for shares. comparison.csv has every run, comparison.json every number of this page. Times are virtual and the same on every machine.",
  });
}

const panel = ({ title, note, head, rows, names }: Sheet): string =>
  `<div class="panel">${renderTable({ caption: title, head, rows, numbersFrom: names })}<p class="lead">${escapeHtml(note)}</p></div>`;

function broken({ failed }: Comparison): string {
  const found = failed.filter(({ result }) => result!.cell.violations.length > 0);
  if (found.length === 0) return "";
  const items = found
    .slice(0, 50)
    .map(
      (cell) =>
        `<li class="failed"><b>${escapeHtml(titleOf(cell))}</b> <span>– ${escapeHtml(cell.result!.cell.violations.join("; "))}</span></li>`,
    );
  return `<div class="panel"><h3>Invariants broken in ${plural(found.length, "run", "runs")}</h3><ul class="claims">${items.join("")}</ul></div>`;
}
