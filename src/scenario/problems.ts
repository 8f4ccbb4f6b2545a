/** Mistakes in a scenario, said all at once: field, what was expected, what came. */
import { z } from "zod";
import { ScenarioError } from "../base/errors.ts";
import { expectation } from "../fl/problem.ts";

export interface Problem {
  /** `fleet[1].topK`; empty for the scenario as a whole. */
  readonly path: string;
  /** What is wrong there, after the path: `is 12, but the model has 8 experts`. */
  readonly text: string;
}

export const expected = (path: string, what: string, got: unknown): Problem => ({
  path,
  text: `is ${show(got)}, expected ${what}`,
});

/** @throws ScenarioError when there are any */
export function throwProblems(name: string, problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const lines = [...new Set(problems.map(({ path, text }) => `${path === "" ? "the scenario" : path} ${text}`))];
  if (lines.length === 1) throw new ScenarioError(`scenario "${name}": ${lines[0]}`);
  throw new ScenarioError(
    `scenario "${name}" has ${lines.length} mistakes\n${lines.map((line) => `  ${line}`).join("\n")}`,
  );
}

/** What zod found wrong with `value`. */
export function schemaProblems(schema: z.ZodType, value: unknown): Problem[] {
  const parsed = schema.safeParse(value);
  if (parsed.success) return [];
  const known = fieldNames(schema);
  return parsed.error.issues.flatMap((issue) => describe(issue, [], value, known));
}

function describe(
  issue: z.core.$ZodIssue,
  above: readonly PropertyKey[],
  root: unknown,
  known: readonly string[],
): Problem[] {
  const path = [...above, ...issue.path];
  const got = at(root, path);
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({
        path: pathText([...path, key]),
        text: `is not a field that exists here${suggestion(key, known)}`,
      }));
    case "invalid_union": {
      if (issue.errors.length === 0) return [expected(pathText(path), expectation(issue, got), got)];
      // The alternative that got furthest is the one the author meant.
      const alternatives = issue.errors.filter((errors) => errors.length > 0);
      const meant = alternatives.toSorted((a, b) => deepest(b) - deepest(a) || a.length - b.length)[0];
      if (meant === undefined || deepest(meant) === 0) {
        const wanted = alternatives.flatMap((errors) => errors.map((error) => expectation(error, got)));
        return [expected(pathText(path), [...new Set(wanted)].join(" or ") || "something else", got)];
      }
      return meant.flatMap((error) => describe(error, path, root, known));
    }
    default:
      return [expected(pathText(path), expectation(issue, got), got)];
  }
}

const deepest = (issues: readonly z.core.$ZodIssue[]): number => Math.max(...issues.map(({ path }) => path.length));

function suggestion(key: string, known: readonly string[]): string {
  const near = known
    .map((name) => ({ name, distance: editDistance(key.toLowerCase(), name.toLowerCase()) }))
    // A field of that very name belongs to something else.
    .filter(({ name, distance }) => name !== key && distance <= Math.max(1, Math.floor(key.length / 4)))
    .sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))[0];
  return near === undefined ? "" : `; did you mean ${near.name}?`;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one word into the other. */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => [i, ...new Array<number>(b.length).fill(0)]);
  for (let j = 1; j <= b.length; j++) rows[0]![j] = j;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      rows[i]![j] = best;
    }
  }
  return rows[a.length]![b.length]!;
}

const namesOf = new WeakMap<z.ZodType, string[]>();

/** Every field name that occurs somewhere in the schema. */
function fieldNames(schema: z.ZodType): string[] {
  const known = namesOf.get(schema);
  if (known !== undefined) return known;
  const names = new Set<string>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      if (key === "properties") for (const name of Object.keys(inner as object)) names.add(name);
      visit(inner);
    }
  };
  visit(z.toJSONSchema(schema, { unrepresentable: "any", io: "input" }));
  namesOf.set(schema, [...names]);
  return [...names];
}

/** `fleet[1].link.down`. */
export const pathText = (path: readonly PropertyKey[]): string =>
  path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let inner = value;
  for (const key of path) inner = (inner as Readonly<Record<PropertyKey, unknown>> | null | undefined)?.[key];
  return inner;
}

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
