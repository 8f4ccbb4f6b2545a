/** What there is to say of every method, for the terminal and the documentation. */
import * as z from "zod";
import type { About } from "../../fl/about.ts";
import { strategies, strategyFromSpec } from "../../fl/strategies/registry.ts";
import { wrappers } from "../../fl/wrappers/define-strategy.ts";
import { type TaskType, tasksWith, taskTypes } from "../../tasks/facts.ts";

export interface MethodFacts {
  readonly name: string;
  /** Whether it goes around any of the others. */
  readonly wraps: boolean;
  readonly about: About;
  /** Those that have what it needs; of a wrapper all: it goes where the method goes that it is around. */
  readonly tasks: readonly TaskType[];
  /** Its options; of a wrapper, the value of its field. */
  readonly schema: z.ZodType;
}

export function allMethods(): MethodFacts[] {
  const own = [...strategies.entries.values()].map(({ type, about, options }) => ({
    name: type,
    wraps: false,
    about,
    // No option changes what a method needs.
    tasks: tasksWith(strategyFromSpec({ type }).needs),
    schema: z.strictObject(options),
  }));
  const around = Object.entries(wrappers).map(([name, { field, about }]) => ({
    name,
    wraps: true,
    about,
    tasks: taskTypes,
    schema: field,
  }));
  return [...own, ...around];
}

/** The mark before the colon says how close a method is to its source. */
export const markOf = ({ certainty }: About): string => certainty.split(":")[0]!;

/** `llm, vision`, or `any but pregating and refactor` */
export function tasksInWords({ tasks }: Pick<MethodFacts, "tasks">): string {
  const others = taskTypes.filter((type) => !tasks.includes(type));
  if (others.length === 0) return "any";
  return others.length <= 2 ? `any but ${others.join(" and ")}` : tasks.join(", ");
}

/** What it is under which options: `fedavg with mu=0: same program`. */
export const reductionsOf = ({ reduces }: About): string[] =>
  reduces.map(({ options, to, gives }) => {
    const other = to === undefined ? "what it is around" : assigned(to.type, to);
    return `${other} with ${inWords(options)}: ${gives.map((what) => alike[what]).join(", ")}`;
  });

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

/** Of each option its name, what it may be, what it is unless given, and what it means: all from the schema. */
export function optionRows(
  schema: z.ZodType,
): (readonly [name: string, values: string, usual: string, means: string])[] {
  const shape = z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
  return Object.entries(shape.properties ?? { value: shape }).map(([name, field]) => [
    name,
    valuesOf(field),
    field.default === undefined ? "" : String(field.default),
    field.description ?? "",
  ]);
}

function valuesOf(field: JsonSchema): string {
  if (field.anyOf !== undefined) return field.anyOf.map(valuesOf).join(" | ");
  if (field.const !== undefined) return String(field.const);
  if (field.properties !== undefined) return `{ ${Object.keys(field.properties).join(", ")} }`;
  if (field.type === "object") return "{ budget: number }";
  if (field.type === "null") return "null";
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
