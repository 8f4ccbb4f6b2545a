/** What `flame methods` prints: a list of methods, and one of them explained. */
import { z } from "zod";
import type { About } from "../../fl/about.ts";
import { colors } from "./colors.ts";

export interface MethodFacts {
  readonly name: string;
  /** Whether it goes around any of the others. */
  readonly wraps: boolean;
  readonly about: About;
  /** Its options; of a wrapper, the value of its field. */
  readonly schema: z.ZodType;
}

/** The mark before the colon says how close a method is to its source. */
const markOf = ({ certainty }: About): string => certainty.split(":")[0]!;

const citation = ({ sources }: About): string => sources.map(({ by, year }) => `${by} ${year}`).join("; ");

/** Two lines a method: its table would be wider than any terminal. */
export function listOf(methods: readonly MethodFacts[]): string {
  const width = Math.max(...methods.map(({ name }) => name.length)) + 2;
  const entry = ({ name, about }: MethodFacts): string => {
    const { adapts, sends, keeps } = about;
    const facts = [
      ...(sends === null ? [] : [`sends ${sends}`]),
      ...(keeps === null ? [] : [`keeps ${keeps}`]),
      citation(about),
      markOf(about),
    ];
    return `${colors.bold(name)}${" ".repeat(width - name.length)}${adapts}\n${" ".repeat(width)}${colors.dim(facts.join(" · "))}\n`;
  };
  const part = (wraps: boolean) => methods.filter((method) => method.wraps === wraps).map(entry);
  return [...part(false), "\naround any of them, as an option of it:\n\n", ...part(true)].join("");
}

export function explain({ name, wraps, about, schema }: MethodFacts): string {
  const { adapts, formula, notes, sends, keeps, sources, certainty, reduces } = about;
  const fact = (title: string, text: string) => `${colors.dim(title.padEnd(11))}${text}\n`;
  return [
    `${colors.bold(name)}: ${adapts}\n\n`,
    `${indented(formula)}\n`,
    ...(notes === undefined ? [] : [`${indented(notes)}\n`]),
    ...optionLines(schema),
    fact("sends", sends ?? "nothing besides the model"),
    fact("keeps", keeps ?? "nothing from round to round"),
    ...reduces.map(({ options, to, gives }) => {
      const other = to === undefined ? "what it is around" : assigned(to.type, to);
      return fact("is", `${other} with ${inWords(options)}: ${gives.map((what) => alike[what]).join(", ")}`);
    }),
    ...sources.map(({ by, title, year, url }) => fact("source", `${by}, "${title}", ${year}, ${url}`)),
    fact("certainty", certainty),
    ...(wraps ? [] : [fact("besides", "flood, compress and clipNorm go around it (flame methods flood)")]),
  ].join("");
}

const alike = { program: "same program", bytes: "same bytes from the server", values: "same values, to rounding" };

const inWords = (options: object): string =>
  Object.entries(options)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ") || "any options";

function assigned(type: string, { type: _, ...options }: { readonly type: string }): string {
  return Object.keys(options).length === 0 ? type : `${type}(${inWords(options)})`;
}

interface JsonSchema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly anyOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly multipleOf?: number;
  readonly default?: unknown;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
}

/** Names, what each may be, what it is unless given, and what it means: all from the schema. */
function optionLines(schema: z.ZodType): string[] {
  const shape = z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
  const fields = Object.entries(shape.properties ?? { value: shape });
  if (fields.length === 0) return [];
  const rows = fields.map(([name, field]) => [
    name,
    valuesOf(field),
    field.default === undefined ? "" : String(field.default),
    field.description ?? "",
  ]);
  const titles = ["option", "values", "default", ""];
  const widths = titles.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]!.length)));
  const line = (row: readonly string[]) =>
    `  ${row
      .map((cell, at) => cell.padEnd(widths[at]!))
      .join("  ")
      .trimEnd()}\n`;
  return [colors.dim(line(titles)), ...rows.map(line), "\n"];
}

function valuesOf(field: JsonSchema): string {
  if (field.anyOf !== undefined) return field.anyOf.map(valuesOf).join(" | ");
  if (field.const !== undefined) return String(field.const);
  if (field.type === "object") return "{ budget: number }";
  if (field.enum !== undefined) return field.enum.join(" | ");
  if (field.type === "boolean") return "true | false";
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum, multipleOf: step } = field;
  const isWhole = field.type === "integer";
  // Zod bounds whole numbers by those that are exact, which nobody asked for.
  const most = exclusiveMaximum ?? (maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum);
  const bounds = [
    ...(exclusiveMinimum === undefined ? [] : [`> ${exclusiveMinimum}`]),
    ...(minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? [] : [`≥ ${minimum}`]),
    ...(most === undefined ? [] : [`${exclusiveMaximum === undefined ? "≤" : "<"} ${most}`]),
  ];
  return [isWhole ? "whole" : "number", bounds.join(", "), step === undefined ? "" : `by ${step}`]
    .filter((part) => part !== "")
    .join(" ");
}

/** Text without the indentation it has in the source. */
export function plainText(text: string): string {
  const lines = text.replace(/^\n|\n\s*$/g, "").split("\n");
  const margin = Math.min(...lines.filter((line) => line.trim() !== "").map((line) => line.search(/\S/)));
  return lines.map((line) => line.slice(margin)).join("\n");
}

const indented = (text: string): string =>
  plainText(text)
    .split("\n")
    .map((line) => (line === "" ? "\n" : `  ${line}\n`))
    .join("");
