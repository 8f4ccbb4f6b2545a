/** A comparison in words and numbers: as text for terminals, as Markdown, as CSV of every run, and as JSON. */
import { type Column, type Comparison, type Contrast, type Entry, isBest, level, type Table } from "./comparison.ts";
import { fewestPairs } from "./confidence.ts";
import { signed } from "./numbers.ts";
import type { Strong } from "./page.ts";
import { formatTable } from "./table.ts";

/** One table as it is shown, with what has to be said of it. */
export interface Sheet {
  readonly id: string;
  readonly title: string;
  readonly note: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly (string | Strong)[])[];
}

/** The first table, what the test says of it, and the others. */
export function sheetsOf(comparison: Comparison): Sheet[] {
  const [first, ...others] = comparison.tables;
  const tested = comparison.contrasts.length === 0 || comparison.budgets.length === 0 ? [] : [testSheet(comparison)];
  return [sheetOf(first!), ...tested, ...others.map(sheetOf)];
}

function sheetOf({ id, title, note, columns }: Table): Sheet {
  const rows = columns[0]!.entries.map(({ method }, at) => [
    method,
    ...columns.map((column) => {
      const entry = column.entries[at]!;
      const text = entryText(column, entry);
      return isBest(column, entry) ? { strong: text } : text;
    }),
  ]);
  return { id, title, note, head: ["method", ...columns.map((column) => column.title)], rows };
}

/** `1.234 ± 0.021`; the count is told where some runs had no value. */
function entryText({ write }: Column, { mean, deviation, count, runs }: Entry): string {
  if (mean === null) return "–";
  const spread = deviation === null || deviation === 0 ? "" : ` ± ${write(deviation)}`;
  return `${write(mean)}${spread}${count < runs.length ? ` (${count} of ${runs.length})` : ""}`;
}

function testSheet({ against, contrasts, seeds }: Comparison): Sheet {
  const rows = contrasts.map(({ method, test, adjusted, verdict }) => {
    if (test === null || adjusted === null) return [method, "–", "–", "–", "–", verdict];
    const { mean, half, p } = test;
    const interval = `${signed(mean - half!)} to ${signed(mean + half!)}`;
    return [method, signed(mean), interval, probability(p), probability(adjusted), verdict];
  });
  const many = contrasts.length === 1 ? "" : `, Holm's correction for ${contrasts.length} comparisons`;
  return {
    id: "test",
    title: `Against ${against}`,
    note:
      seeds.length < fewestPairs
        ? `Held-out loss in the mean over budgets, seed by seed. ${fewestPairs} seeds are the fewest that are tested.`
        : `Held-out loss in the mean over budgets, seed by seed: below 0 is better than ${against}. Two-sided paired t-test${many}; a difference counts below ${level}. An exact test of signs could not get below ${probability(2 / 2 ** seeds.length)} with ${seeds.length} seeds.`,
    head: ["method", "difference", "95 % interval", "p", "corrected p", "verdict"],
    rows,
  };
}

const probability = (p: number): string => (p < 0.001 ? "< 0.001" : p.toFixed(3));

/** What the test says, what no mean has in it, and which methods are not quite their source's, in a sentence each. */
export function conclusion(comparison: Comparison): string {
  const failed = comparison.failed.map(({ strategy, seed }) => `${strategy} with seed ${seed}`);
  const missing = failed.length === 0 ? "" : ` Not in the means, because they diverged or broke: ${failed.join(", ")}.`;
  const certainties = [...new Set(comparison.marks.map(({ certainty }) => certainty))];
  const marks = certainties.map((certainty) => {
    const alike = comparison.marks.filter((mark) => mark.certainty === certainty);
    return ` ${alike.map(({ method }) => method).join(", ")} – ${certainty}.`;
  });
  return verdicts(comparison) + missing + marks.join("");
}

function verdicts({ against, contrasts, seeds }: Comparison): string {
  if (contrasts.length === 0) return "There is one method, and nothing to compare it with.";
  if (contrasts.every(({ verdict }) => verdict === "too few seeds")) {
    return `${seeds.length === 1 ? "One seed is" : `${seeds.length} seeds are`} too few to tell methods apart: --seeds 5 adds to what is there.`;
  }
  const said = (verdict: Contrast["verdict"]): string[] => {
    const names = contrasts.filter((contrast) => contrast.verdict === verdict).map(({ method }) => method);
    if (names.length === 0) return [];
    const all = names.length === 1 ? names[0]! : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
    if (verdict === "no difference seen") return [`no difference from ${against} is seen for ${all}`];
    return [`${all} ${names.length === 1 ? "is" : "are"} ${verdict} than ${against}`];
  };
  const [first = "", ...rest] = [...said("better"), ...said("worse"), ...said("no difference seen")];
  return `${[first[0]!.toUpperCase() + first.slice(1), ...rest].join("; ")}.`;
}

/** @param strong how a terminal shows the best of a column */
export function formatComparison(comparison: Comparison, strong: (text: string) => string): string {
  const sheets = sheetsOf(comparison).map(({ title, head, rows }) => {
    // Eighty columns have room for five budgets without the blanks.
    const narrow = (text: string): string => text.replace(" ± ", "±");
    const shown = rows.map((row) =>
      row.map((cell) => (typeof cell === "string" ? narrow(cell) : strong(narrow(cell.strong)))),
    );
    return `${title}\n${inEighty(head, shown).join("\n\n")}\n`;
  });
  return `${[...sheets, conclusion(comparison)].join("\n")}\n`;
}

/** In halves, each with the names, where a terminal would break the lines. */
function inEighty(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const text = formatTable(head, rows, 1);
  const [, rule = ""] = text.split("\n");
  if (rule.length <= 80 || head.length <= 2) return [text];
  const half = Math.ceil((head.length + 1) / 2);
  const left = (row: readonly string[]) => row.slice(0, half);
  const right = (row: readonly string[]) => [row[0]!, ...row.slice(half)];
  return [...inEighty(left(head), rows.map(left)), ...inEighty(right(head), rows.map(right))];
}

export function markdownOf(comparison: Comparison, title: string, reproduce: string): string {
  const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const sheets = sheetsOf(comparison).map(({ title: name, note, head, rows }) =>
    [
      `## ${name}`,
      "",
      row(head),
      row(head.map((_, at) => (at === 0 ? "---" : "---:"))),
      ...rows.map((cells) => row(cells.map((cell) => (typeof cell === "string" ? cell : `**${cell.strong}**`)))),
      "",
      note,
      "",
    ].join("\n"),
  );
  return [`# ${title}`, "", conclusion(comparison), "", ...sheets, "```", reproduce, "```", ""].join("\n");
}

/** A line for each run and column: what other programs go on with. */
export function csvOf({ tables }: Comparison): string {
  const field = (value: string | number): string =>
    typeof value === "string" && /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : String(value);
  const lines = tables.flatMap(({ id, columns }) =>
    columns.flatMap((column) =>
      column.entries.flatMap(({ method, runs }) =>
        runs.map(({ seed, value }) => [id, column.id, method, seed, value ?? ""].map(field).join(",")),
      ),
    ),
  );
  return `${["table,column,method,seed,value", ...lines].join("\n")}\n`;
}

export function jsonOf({ against, marks, seeds, budgets, tables, contrasts }: Comparison, reproduce: string): string {
  const plain = tables.map(({ columns, ...table }) => ({
    ...table,
    columns: columns.map(({ id, title, best, entries }) => ({ id, title, best, entries })),
  }));
  return `${JSON.stringify({ against, marks, seeds, budgets, reproduce, tables: plain, contrasts }, null, 2)}\n`;
}
