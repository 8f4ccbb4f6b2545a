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
  `${path === "" ? what : `${what}.${path}`}: expected ${expected}, got ${got}`;

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
    return [{ path: issue.path.join("."), expected: expectation(issue), got: show(at(spec, issue.path)) }];
  });
}

/** `Too small: expected number to be >=0` and `Invalid input: expected int, received string` say it after "expected". */
function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_union" && "options" in issue && Array.isArray(issue.options)) {
    return `one of ${issue.options.join(", ")}`;
  }
  const [, said] = /[Ee]xpected (.*?)(?:, received .*)?$/.exec(issue.message) ?? [];
  return said ?? issue.message;
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value;
  for (const key of path) inner = (inner as Readonly<Record<PropertyKey, unknown>> | null | undefined)?.[key];
  return inner;
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  return typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
}
