/** What `flame methods` prints: a list of methods, and one of them explained. */
import type * as z from "zod";
import type { About } from "../../fl/about.ts";
import { wrappers } from "../../fl/wrappers/define-strategy.ts";
import { colors } from "./colors.ts";
import { type MethodFacts, markOf, optionRows, plainText, reductionsOf, tasksInWords } from "./method-facts.ts";
import { lineWidth, wrapped } from "./terminal.ts";

const citation = ({ sources }: About): string => sources.map(({ by, year }) => `${by} ${year}`).join("; ");

/** Two lines a method: its table would be wider than any terminal. */
export function listOf(methods: readonly MethodFacts[]): string {
  const width = Math.max(...methods.map(({ name }) => name.length)) + 2;
  const entry = ({ name, wraps, about, tasks }: MethodFacts): string => {
    const { adapts, sends, keeps } = about;
    const facts = [
      ...(wraps ? [] : [`tasks: ${tasksInWords({ tasks })}`]),
      ...(sends === null ? [] : [`sends ${sends}`]),
      ...(keeps === null ? [] : [`keeps ${keeps}`]),
      citation(about),
      markOf(about),
    ];
    const second = colors.dim(wrapped(`${" ".repeat(width)}${facts.join(" · ")}`, width));
    return `${wrapped(`${colors.bold(name.padEnd(width))}${adapts}`, width)}\n${second}\n`;
  };
  const part = (wraps: boolean) => methods.filter((method) => method.wraps === wraps).map(entry);
  return [...part(false), "\naround any of them, as an option of it:\n\n", ...part(true)].join("");
}

export function explain({ name, wraps, about, tasks, schema }: MethodFacts): string {
  const { adapts, formula, notes, sends, keeps, sources, certainty } = about;
  const fact = (title: string, text: string) => `${wrapped(`${colors.dim(title.padEnd(11))}${text}`, 11)}\n`;
  return [
    `${wrapped(`${colors.bold(name)}: ${adapts}`)}\n\n`,
    `${indented(formula)}\n`,
    ...(notes === undefined ? [] : [`${indented(notes)}\n`]),
    ...optionLines(schema),
    fact("tasks", tasksInWords({ tasks })),
    fact("sends", sends ?? "nothing besides the model"),
    fact("keeps", keeps ?? "nothing from round to round"),
    ...reductionsOf(about).map((text) => fact("is", text)),
    ...sources.map(({ by, title, year, url }) => fact("source", `${by}, "${title}", ${year}, ${url}`)),
    fact("certainty", certainty),
    ...(wraps ? [] : [fact("besides", `${Object.keys(wrappers).join(", ")} go around it (flame methods flood)`)]),
  ].join("");
}

function optionLines(schema: z.ZodType): string[] {
  const rows = optionRows(schema);
  if (rows.length === 0) return [];
  const titles = ["option", "values", "default", ""];
  const widths = titles.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]!.length)));
  const before = widths.slice(0, 3).reduce((sum, width) => sum + width + 2, 2);
  // Where meanings would have a narrow column, they stand below.
  const isNarrow = lineWidth() - before < 30;
  const line = (row: readonly string[]) => {
    const [about = "", ...cells] = row.toReversed();
    const facts = cells
      .toReversed()
      .map((cell, at) => cell.padEnd(widths[at]!))
      .join("  ");
    const text = isNarrow ? `  ${facts.trimEnd()}\n      ${about}` : `  ${facts}  ${about}`;
    return `${text
      .split("\n")
      .map((part) => wrapped(part, isNarrow ? 6 : before).trimEnd())
      .filter(Boolean)
      .join("\n")}\n`;
  };
  return [colors.dim(line(titles)), ...rows.map(line), "\n"];
}

const indented = (text: string): string =>
  plainText(text)
    .split("\n")
    .map((line) => (line === "" ? "\n" : `${wrapped(`  ${line}`, 2)}\n`))
    .join("");
