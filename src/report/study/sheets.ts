/** A study in words and numbers: as text for terminals, as Markdown, as CSV of every run, and as JSON. */
import { failureOf } from "../../study/cell.ts";
import { titleOf } from "../../study/matrix/plan.ts";
import { plural, signed } from "../numbers.ts";
import type { Strong } from "../page.ts";
import { estimate, fewest, type Interval } from "../statistics/intervals.ts";
import { formatTable } from "../table.ts";
import { type Comparison, type Contrast, type Entry, type Group, isRatio, level, type Table } from "./comparison.ts";
import type { Measure } from "./measures.ts";

/** One table as it is shown, with what has to be said of it. */
export interface Sheet {
  readonly id: string;
  readonly title: string;
  readonly note: string;
  readonly head: readonly string[];
  /** So many columns, from the first, hold names. */
  readonly names: number;
  readonly rows: readonly (readonly (string | Strong)[])[];
}

/** Besides the first, what is read first. */
export const isMain = (id: string): boolean => id.startsWith("test-") || id === "ranks";

/** The first table, what the tests say of it, and the others. */
export function sheetsOf(comparison: Comparison): Sheet[] {
  const { contrasts, ranks, tables } = comparison;
  const [first, ...rest] = tables.map((table) => tableSheet(table, comparison));
  const others = [...new Set(contrasts.map(({ other }) => other))];
  const tests = others.map((other) => testSheet(other, comparison));
  return [first!, ...tests, ...(ranks === null ? [] : [rankSheet(comparison)]), ...rest];
}

/** The columns that name a group. */
const namesOf = ({ conditions }: Comparison): string[] => (conditions.length > 1 ? ["where", "method"] : ["method"]);
const namedIn = (comparison: Comparison, { condition, method }: Group): string[] =>
  namesOf(comparison).length > 1 ? [condition ?? "", method] : [method];

function tableSheet({ id, title, note, columns }: Table, comparison: Comparison): Sheet {
  const names = namesOf(comparison);
  const rows = comparison.groups.map((group, at) => [
    ...namedIn(comparison, group),
    ...columns.map(({ measure, entries }) => {
      const entry = entries[at]!;
      const text = entryText(measure, entry);
      return entry.isBest ? { strong: text } : text;
    }),
  ]);
  return {
    id,
    title,
    note,
    names: names.length,
    head: [...names, ...columns.map(({ measure }) => measure.title)],
    rows,
  };
}

/** `1.234 ± 0.021`; the count is told where some runs had no value. */
function entryText({ write, isCount }: Measure, { mean, deviation, count, values }: Entry): string {
  if (isCount) return `${values.filter((value) => value === 1).length} of ${values.length}`;
  if (mean === null) return "–";
  // A deviation below the last digit is none.
  const spread = deviation === null || write(mean + deviation) === write(mean) ? "" : ` ± ${write(deviation)}`;
  return `${write(mean)}${spread}${count < values.length ? ` (${count} of ${values.length})` : ""}`;
}

/** What is held against one method, or against the same without dropout. */
function testSheet(against: string, comparison: Comparison): Sheet {
  const { contrasts, compared, seeds } = comparison;
  const ratio = isRatio(compared);
  const shown = (value: number): string => (ratio ? `${signed(100 * Math.expm1(value), 1)} %` : signed(value));
  const own = contrasts.filter(({ other }) => other === against);
  const rows = own.map(({ group, test, adjusted, verdict, pairs, failed }) => {
    const names = namedIn(comparison, group);
    if (test === null || adjusted === null) return [...names, "–", "–", "–", "–", verdict];
    const { mean, interval, p } = test;
    const missing = failed === 0 ? "" : ` (${pairs - failed} of ${pairs})`;
    const range = `${shown(interval.low)} to ${shown(interval.high)}`;
    return [...names, `${shown(mean)}${missing}`, range, probability(p), probability(adjusted), verdict];
  });
  const many = contrasts.length === 1 ? "" : `, Holm's correction for all ${contrasts.length} comparisons of the study`;
  const what = `${compared.name[0]!.toUpperCase()}${compared.name.slice(1)}, seed by seed${ratio ? ", as a ratio" : ""}`;
  const few = seeds.length < fewest;
  return {
    id: `test-${against.replaceAll(/\W+/g, "-")}`,
    title: `Against ${against}`,
    note: few
      ? `${what}. ${fewest} seeds are the fewest that are tested.`
      : `${what}: ${compared.better === "high" ? "above" : "below"} 0 is better. Two-sided paired t-test${many}; a difference counts below ${level}. An exact test of signs could not get below ${probability(2 / 2 ** seeds.length)} with ${seeds.length} seeds.`,
    names: namesOf(comparison).length,
    head: [...namesOf(comparison), "difference", "95 % interval", "p", "corrected p", "verdict"],
    rows,
  };
}

const probability = (p: number): string => (p < 0.001 ? "< 0.001" : p.toFixed(3));

function rankSheet({ ranks, compared, conditions }: Comparison): Sheet {
  const { methods, seeds, critical } = ranks!;
  const over =
    conditions.length > 1 ? `${seeds} seeds, in the mean over ${conditions.length} conditions` : `${seeds} seeds`;
  return {
    id: "ranks",
    title: "Mean ranks",
    note: `Of ${compared.name} over ${over}; 1 is best, and a run that failed comes last. Methods are told apart by ranks that lie ${critical.toFixed(2)} apart (Nemenyi's critical difference at 5 %, which holds better the more seeds there are).`,
    names: 1,
    head: ["method", "mean rank", "not told apart from"],
    rows: methods.map(({ method, rank }) => {
      const near = methods.filter((other) => other.method !== method && Math.abs(other.rank - rank) < critical);
      const text = near.length === methods.length - 1 ? "any" : near.map((other) => other.method).join(", ");
      return [method, rank.toFixed(2), text === "" ? "–" : text];
    }),
  };
}

/** What the tests say, what no mean has in it, and which methods are not quite their source's, in a sentence each. */
export function conclusion(comparison: Comparison): string {
  const { failed, record, marks } = comparison;
  const reasons = failed.map((cell) => `${titleOf(cell)} (${failureOf(cell.result!.cell)})`);
  const shown = reasons.length > 12 ? [...reasons.slice(0, 12), `and ${reasons.length - 12} more`] : reasons;
  const missing =
    failed.length === 0
      ? ""
      : ` ${failed.length} of ${record.cells.length} runs failed and are in no mean of quality: ${shown.join("; ")}.`;
  const notes = record.notes.map((note) => ` ${note[0]!.toUpperCase()}${note.slice(1)}.`);
  const certainties = [...new Set(marks.map(({ certainty }) => certainty))].map((certainty) => {
    const alike = marks.filter((mark) => mark.certainty === certainty);
    return ` ${alike.map(({ method }) => method).join(", ")} – ${certainty}.`;
  });
  return verdicts(comparison) + missing + notes.join("") + certainties.join("");
}

function verdicts({ contrasts, seeds, groups }: Comparison): string {
  if (groups.length === 1) return "There is one method, and nothing to compare it with.";
  if (contrasts.every(({ verdict }) => verdict === "too few seeds")) {
    return contrasts.length === 0
      ? "Nothing here is held against another."
      : `${seeds.length === 1 ? "One seed is" : `${seeds.length} seeds are`} too few to tell what differs: --seeds 5, with this folder for --out, adds to what is there.`;
  }
  const others = [...new Set(contrasts.map(({ other }) => other))];
  const [first = "", ...rest] = others.flatMap((other) =>
    saidOf(
      contrasts.filter((contrast) => contrast.other === other),
      other,
    ),
  );
  return `${first[0]!.toUpperCase()}${[first.slice(1), ...rest].join("; ")}.`;
}

const place = ({ method, condition }: Group): string => (condition === null ? method : `${method} (${condition})`);

/** With names where there are few, else with their number. */
const most = 6;

/** What is better than one thing, what worse, and what is not told apart from it. */
function saidOf(contrasts: readonly Contrast[], other: string): string[] {
  return (["better", "worse", "no difference seen"] as const).flatMap((verdict) => {
    const names = contrasts.filter((contrast) => contrast.verdict === verdict).map(({ group }) => place(group));
    if (names.length === 0) return [];
    const few = names.length === 1 ? names[0]! : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
    const all = names.length > most ? `${names.length} of ${contrasts.length}` : few;
    if (verdict === "no difference seen") return [`no difference from ${other} is seen for ${all}`];
    const at = contrasts[0]!.isMethod ? "" : "at ";
    return [`${all} ${names.length === 1 ? "is" : "are"} ${verdict} than ${at}${other}`];
  });
}

/** Below a table of more rows than these nobody reads another on a terminal. */
const longest = 12;

/** @param strong how a terminal shows the best of a column */
export function formatComparison(comparison: Comparison, strong: (text: string) => string): string {
  const isLong = comparison.groups.length > longest;
  const all = sheetsOf(comparison);
  const shown = all.filter(({ id }, at) => !isLong || at === 0 || isMain(id));
  const rest =
    shown.length < all.length
      ? `The report has ${plural(all.length - shown.length, "more table", "more tables")}.\n\n`
      : "";
  const sheets = shown.map(({ title, head, rows, names }) => {
    // Eighty columns have room for five budgets without the blanks.
    const narrow = (text: string): string => text.replace(" ± ", "±");
    const texts = rows.map((row) =>
      row.map((cell) => (typeof cell === "string" ? narrow(cell) : strong(narrow(cell.strong)))),
    );
    return `${title}\n${inEighty(head, texts, names).join("\n\n")}\n`;
  });
  return `${sheets.join("\n")}\n${rest}${conclusion(comparison)}\n`;
}

/** In halves, each with the names, where a terminal would break the lines. */
function inEighty(head: readonly string[], rows: readonly (readonly string[])[], names: number): string[] {
  const text = formatTable(head, rows, names);
  const [, rule = ""] = text.split("\n");
  if (rule.length <= 80 || head.length <= names + 1) return [text];
  const half = names + Math.ceil((head.length - names) / 2);
  const left = (row: readonly string[]) => row.slice(0, half);
  const right = (row: readonly string[]) => [...row.slice(0, names), ...row.slice(half)];
  return [...inEighty(left(head), rows.map(left), names), ...inEighty(right(head), rows.map(right), names)];
}

export function markdownOf(comparison: Comparison, title: string, reproduce: string): string {
  const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const sheets = sheetsOf(comparison).map(({ title: name, note, head, rows, names }) =>
    [
      `## ${name}`,
      "",
      row(head),
      row(head.map((_, at) => (at < names ? "---" : "---:"))),
      ...rows.map((cells) => row(cells.map((cell) => (typeof cell === "string" ? cell : `**${cell.strong}**`)))),
      "",
      note,
      "",
    ].join("\n"),
  );
  return [`# ${title}`, "", conclusion(comparison), "", ...sheets, "```", reproduce, "```", ""].join("\n");
}

/** A line for each run and measure, with a column for each axis: what other programs go on with. */
export function csvOf({ tables, axes }: Comparison): string {
  const field = (value: string | number): string =>
    typeof value === "string" && /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : String(value);
  const lines = tables.flatMap(({ id, columns }) =>
    columns.flatMap(({ measure, entries }) =>
      entries.flatMap(({ group, values }) => {
        const places = axes.map((axis) => group.at[axis.id]?.value ?? group.at[axis.id]?.label ?? "");
        return group.runs.map(({ seed }, at) =>
          [id, measure.id, group.method, ...places, seed, values[at] ?? ""].map(field).join(","),
        );
      }),
    ),
  );
  return `${[["table", "measure", "method", ...axes.map(({ id }) => id), "seed", "value"].map(field).join(","), ...lines].join("\n")}\n`;
}

export function jsonOf(comparison: Comparison, reproduce: string): string {
  const { against, marks, seeds, budgets, tables, contrasts, ranks, compared } = comparison;
  const nameOf = ({ method, condition }: Group) => ({ method, condition });
  const plain = {
    against,
    compared: compared.id,
    marks,
    seeds,
    budgets,
    reproduce,
    tables: tables.map(({ columns, ...table }) => ({
      ...table,
      columns: columns.map(({ measure, entries }) => ({
        id: measure.id,
        title: measure.title,
        entries: entries.map(({ group, values, mean, deviation, count, isBest }) => ({
          ...nameOf(group),
          at: group.at,
          runs: group.runs.map(({ seed }, at) => ({ seed, value: values[at] ?? null })),
          mean,
          deviation,
          interval: intervalOf(measure, values),
          count,
          isBest,
        })),
      })),
    })),
    contrasts: contrasts.map(({ group, against: other, ...rest }) => ({
      ...nameOf(group),
      against: nameOf(other),
      ...rest,
    })),
    ranks,
  };
  return `${JSON.stringify(plain, null, 2)}\n`;
}

const intervalOf = ({ form }: Measure, values: Entry["values"]): Interval | null =>
  estimate(
    values.map((value) => value ?? Number.NaN),
    form,
  )?.interval ?? null;
