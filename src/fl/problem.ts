/**
 * Mistakes in the plain data that names a strategy, policy or sampler, found before anything runs.
 *
 * A schema says what each field may be; `problemsOf` turns what zod complains about into field, expectation and value.
 */
import type { z } from "zod";
import { ScenarioError } from "../base/errors.ts";

export interface Problem {
  /** The field, seen from the spec: `minUpdates`; empty for the spec as a whole. */
  readonly path: string;
  readonly expected: string;
  readonly got: string;
}

export const formatProblem = (what: string, { path, expected, got }: Problem): string =>
  `${path === "" ? what : `${what}.${path}`} is ${got}, expected ${expected}`;

/** Parses a spec, fills in its defaults, or throws a {@link ScenarioError} that lists every mistake. */
export function parseSpec<Schema extends z.ZodType>(what: string, schema: Schema, spec: unknown): z.output<Schema> {
  const parsed = schema.safeParse(spec);
  if (parsed.success) return parsed.data;
  throw new ScenarioError(
    problemsIn(parsed.error, spec)
      .map((problem) => formatProblem(what, problem))
      .join("\n"),
  );
}

/** All mistakes the schema finds in a spec. */
export function problemsOf(schema: z.ZodType, spec: unknown): Problem[] {
  const parsed = schema.safeParse(spec);
  return parsed.success ? [] : problemsIn(parsed.error, spec);
}

function problemsIn(error: z.ZodError, spec: unknown): Problem[] {
  return error.issues.flatMap((issue): Problem[] => {
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        path: [...issue.path, key].join("."),
        expected: "no such field",
        got: show(at(spec, [...issue.path, key])),
      }));
    }
    const got = at(spec, issue.path);
    return [{ path: issue.path.join("."), expected: expectation(issue, got), got: show(got) }];
  });
}

/** What a schema wanted, in the words that stand after "expected". */
export function expectation(issue: z.core.$ZodIssue, got: unknown): string {
  switch (issue.code) {
    case "invalid_type":
      if (issue.expected === "number" && typeof got === "number") return "a finite number";
      return `${article(issue.expected)} ${issue.expected === "int" ? "whole number" : issue.expected}`;
    case "invalid_value":
      return issue.values.length === 1 ? show(issue.values[0]) : `one of ${issue.values.map(show).join(", ")}`;
    case "invalid_union":
      if ("options" in issue && Array.isArray(issue.options)) return `one of ${issue.options.map(show).join(", ")}`;
      return messageOf(issue);
    case "too_small":
      if (issue.origin === "array" || issue.origin === "string") return `at least ${issue.minimum} in length`;
      return issue.inclusive === false ? `more than ${issue.minimum}` : `at least ${issue.minimum}`;
    case "too_big":
      if (issue.origin === "array" || issue.origin === "string") return `at most ${issue.maximum} in length`;
      return issue.inclusive === false ? `less than ${issue.maximum}` : `at most ${issue.maximum}`;
    default:
      return messageOf(issue);
  }
}

/** `Invalid input: expected letters, received string` says it after "expected". */
function messageOf({ message }: z.core.$ZodIssue): string {
  const [, said] = /[Ee]xpected (.*?)(?:, received .*)?$/.exec(message) ?? [];
  return said ?? message;
}

const article = (word: string): string => (/^[aeiou]/.test(word) && word !== "int" ? "an" : "a");

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value;
  for (const key of path) inner = (inner as Readonly<Record<PropertyKey, unknown>> | null | undefined)?.[key];
  return inner;
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  return typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
}
