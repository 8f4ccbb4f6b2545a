/**
 * Mistakes in what somebody wrote, found before anything runs and said all at once: field, expectation, what came.
 *
 * A schema knows what each field may be. Where its own words are better than those of {@link expectation}, it has a text
 * that stands after "expected": `z.number().max(1, "a probability in [0, 1]")`.
 */
import * as z from "zod";
import { InputError, ScenarioError } from "./errors.ts";
import { nearest } from "./spelling.ts";

export interface Problem {
  /** `fleet[1].topK`; empty for the value as a whole. */
  readonly path: string;
  /** What is wrong there, said after the path: `is 12, but the model has 8 experts`. */
  readonly text: string;
}

export const expected = (path: string, what: string, got: unknown): Problem => ({
  path,
  text: `is ${show(got)}, expected ${what}`,
});

/** The problems of a field, seen from the value that has it. */
export const under = (field: string, problems: readonly Problem[]): Problem[] =>
  problems.map(({ path, text }) => ({ path: path === "" ? field : `${field}.${path}`, text }));

/** More than a person reads; a model with a wrong configuration can have thousands. */
const shown = 10;

/** One line, or a list under `where`. */
function listed(where: string, lines: readonly string[]): string {
  const different = [...new Set(lines)];
  if (different.length === 1) return `${where}: ${different[0]}`;
  const rest = different.length - shown;
  const list = rest > 0 ? [...different.slice(0, shown), `… and ${rest} more`] : different;
  return `${where} has ${different.length} mistakes\n${list.map((line) => `  ${line}`).join("\n")}`;
}

/** @param whole what a problem without a path is about */
export const inWords = (whole: string, { path, text }: Problem): string => `${path === "" ? whole : path} ${text}`;

/** @throws InputError when there are any */
export function throwMistakes(where: string, mistakes: readonly string[]): void {
  if (mistakes.length > 0) throw new InputError(listed(where, mistakes));
}

/** @throws ScenarioError when there are any */
export function throwProblems(scenario: string, problems: readonly Problem[]): void {
  const lines = problems.map((problem) => inWords("the scenario", problem));
  if (lines.length > 0) throw new ScenarioError(listed(`scenario "${scenario}"`, lines));
}

/** The plain data that names a strategy, policy or sampler, with its defaults. @throws ScenarioError naming every mistake */
export function parseSpec<Schema extends z.ZodType>(what: string, schema: Schema, spec: unknown): z.output<Schema> {
  const parsed = schema.safeParse(spec, { error: expectation });
  if (parsed.success) return parsed.data;
  throw new ScenarioError(
    describeAll(parsed.error, schema, spec, what)
      .map((problem) => inWords(what, problem))
      .join("\n"),
  );
}

/** What a file holds. @throws InputError naming the file and every mistake */
export function parseInput<Schema extends z.ZodType>(where: string, schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value, { error: expectation });
  if (parsed.success) return parsed.data;
  const problems = describeAll(parsed.error, schema, value);
  throw new InputError(
    listed(
      where,
      problems.map((problem) => inWords("the value", problem)),
    ),
  );
}

/** All mistakes that the schema finds in a value. @param where what stands in front of every path */
export function problemsOf(schema: z.ZodType, value: unknown, where?: string): Problem[] {
  const parsed = schema.safeParse(value, { error: expectation });
  return parsed.success ? [] : describeAll(parsed.error, schema, value, where);
}

/** What a schema without words of its own wanted. */
function expectation(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      if (issue.expected === "number" && typeof issue.input === "number") return "a finite number";
      return names[issue.expected] ?? `a ${issue.expected}`;
    case "invalid_value":
      return oneOf(issue.values);
    case "invalid_union":
      return "options" in issue && Array.isArray(issue.options) ? oneOf(issue.options) : "something else";
    case "too_small":
      return `${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}${lengthOf(issue.origin)}`;
    case "too_big":
      return `${issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}${lengthOf(issue.origin)}`;
    default:
      return "something else";
  }
}

const names: Readonly<Record<string, string>> = {
  array: "an array",
  int: "a whole number",
  object: "an object",
  record: "an object",
};
const oneOf = (values: readonly unknown[]): string =>
  values.length === 1 ? show(values[0]) : `one of ${values.map(show).join(", ")}`;
const lengthOf = (origin: string): string => (origin === "array" || origin === "string" ? " in length" : "");

const describeAll = (error: z.ZodError, schema: z.ZodType, value: unknown, where?: string): Problem[] =>
  error.issues.flatMap((issue) => describe(issue, { schema, value, above: where === undefined ? [] : [where] }, []));

interface Subject {
  readonly schema: z.ZodType;
  readonly value: unknown;
  /** What stands in front of every path. */
  readonly above: readonly PropertyKey[];
}

function describe(issue: z.core.$ZodIssue, subject: Subject, outside: readonly PropertyKey[]): Problem[] {
  const path = [...outside, ...issue.path];
  const got = at(subject.value, path);
  const place = pathText([...subject.above, ...path]);
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({
        path: pathText([...subject.above, ...path, key]),
        text: `is not a field that exists here${suggestion(key, subject.schema)}`,
      }));
    case "invalid_union": {
      if (issue.errors.length === 0) return [expected(place, issue.message, got)];
      // The alternative that got furthest is the one the author meant.
      const alternatives = issue.errors.filter((errors) => errors.length > 0);
      const meant = alternatives.toSorted((a, b) => deepest(b) - deepest(a) || a.length - b.length)[0];
      if (meant === undefined || deepest(meant) === 0) {
        const wanted = alternatives.flatMap((errors) => errors.map(({ message }) => message));
        return [expected(place, [...new Set(wanted)].join(" or ") || issue.message, got)];
      }
      return meant.flatMap((inner) => describe(inner, subject, path));
    }
    default:
      return [expected(place, issue.message, got)];
  }
}

const deepest = (issues: readonly z.core.$ZodIssue[]): number => Math.max(...issues.map(({ path }) => path.length));

function suggestion(key: string, schema: z.ZodType): string {
  const near = nearest(key, fieldNames(schema));
  return near === undefined ? "" : `; did you mean ${near}?`;
}

const namesOf = new WeakMap<z.ZodType, string[]>();

/** Every field name that occurs somewhere in the schema. */
function fieldNames(schema: z.ZodType): string[] {
  const known = namesOf.get(schema);
  if (known !== undefined) return known;
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      if (key === "properties") for (const name of Object.keys(inner as object)) found.add(name);
      visit(inner);
    }
  };
  visit(z.toJSONSchema(schema, { unrepresentable: "any", io: "input" }));
  namesOf.set(schema, [...found]);
  return [...found];
}

/** `fleet[1].link.down`. */
const pathText = (path: readonly PropertyKey[]): string =>
  path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value;
  for (const key of path) inner = (inner as Readonly<Record<PropertyKey, unknown>> | null | undefined)?.[key];
  return inner;
}

/** A value that came, short enough for a line. */
export function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "function") return "a function";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  const text = jsonOf(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}…`;
}

/** Somebody's JSON may be nested deeper than it can be written again. */
function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return "something nested too deeply";
  }
}
