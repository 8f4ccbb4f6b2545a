/** Where two plain values part, by the path of the field. */
export interface FieldDifference {
  /** `rounds.cohort`, `evaluations[0].loss`. */
  readonly path: string;
  readonly a: unknown;
  readonly b: unknown;
}

const mostFields = 20;

/**
 * In the order of the first object's fields; at most twenty.
 *
 * @param isSame for what holds no fields
 */
export function fieldDifferences(
  a: unknown,
  b: unknown,
  isSame: (x: unknown, y: unknown) => boolean = Object.is,
): FieldDifference[] {
  const found: FieldDifference[] = [];
  const visit = (x: unknown, y: unknown, path: string): void => {
    if (found.length >= mostFields || isSame(x, y)) return;
    if (!isObject(x) || !isObject(y) || Array.isArray(x) !== Array.isArray(y)) {
      found.push({ path, a: x, b: y });
      return;
    }
    for (const key of new Set([...Object.keys(x), ...Object.keys(y)])) {
      const here = Array.isArray(x) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
      visit(x[key], y[key], here);
    }
  };
  visit(a, b, "");
  return found;
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;
