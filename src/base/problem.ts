/**
 * Mistakes in a description of the world, found before anything runs.
 *
 * The shape of a scenario is the business of its schema; the `check…` functions of this room know what the numbers
 * mean. Each returns what is wrong instead of throwing, so that a user sees all mistakes at once.
 */

export interface Problem {
  /** Where: `availability.onShare`, `tiers[1].link.down`. */
  readonly path: string;
  /** What was expected there: `a probability in [0, 1]`. */
  readonly expected: string;
  /** The value that came instead, as text. */
  readonly got: string;
}

export const problem = (path: string, expected: string, got: unknown): Problem => ({ path, expected, got: show(got) });

/** Every check below passes over `undefined`: an option that was left out is no mistake. */
export const checkThat = (holds: boolean, path: string, expected: string, got: unknown): Problem[] =>
  holds || got === undefined ? [] : [problem(path, expected, got)];

export const checkProbability = (path: string, value: number | undefined): Problem[] =>
  checkThat(value !== undefined && value >= 0 && value <= 1, path, "a probability in [0, 1]", value);

export const checkPositive = (path: string, value: number | undefined): Problem[] =>
  checkThat(value !== undefined && value > 0, path, "a number above 0", value);

export const checkNotNegative = (path: string, value: number | undefined): Problem[] =>
  checkThat(value !== undefined && value >= 0, path, "a number of at least 0", value);

export const checkCount = (path: string, value: number | undefined, least: number): Problem[] =>
  checkThat(Number.isInteger(value) && value! >= least, path, `a whole number of at least ${least}`, value);

/** One line a reader can act on. */
export const formatProblem = ({ path, expected, got }: Problem): string => `${path} is ${got}, expected ${expected}`;

function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "object") return JSON.stringify(value) ?? String(value);
  return String(value);
}
