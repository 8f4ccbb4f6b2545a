/** Tables for terminals. Columns line up whatever colours the cells carry. */
import { stripVTControlCharacters } from "node:util";

/**
 * Columns two spaces apart, a rule under the titles, no trailing blanks. Where they are wider than the terminal, the rest
 * of the columns follows below, with the names again.
 *
 * @param names how many columns, from the first, hold names and stand to the left; numbers stand to the right
 * @param most characters of a line; without a terminal there is no limit
 */
export function formatTable(
  titles: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  names = 0,
  most = process.stdout.columns ?? Number.POSITIVE_INFINITY,
): string {
  const table = [titles, ...rows].map((row) => titles.map((_, column) => String(row[column] ?? "")));
  const widths = titles.map((_, column) => Math.max(...table.map((row) => width(row[column]!))));
  return partsOf(widths, names, most)
    .map((columns) => {
      const [head, ...lines] = table.map((row) =>
        columns
          .map((column) => {
            const gap = " ".repeat(widths[column]! - width(row[column]!));
            return column < names ? row[column]! + gap : gap + row[column]!;
          })
          .join("  ")
          .trimEnd(),
      );
      const rule = columns.map((column) => "─".repeat(widths[column]!)).join("──");
      return [head, rule, ...lines].join("\n");
    })
    .join("\n\n");
}

/** Which columns stand beside each other: each part has the names, and at least one column more. */
function partsOf(widths: readonly number[], names: number, most: number): number[][] {
  const own = [...widths.keys()];
  const named = own.slice(0, names);
  const parts: number[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const column of own.slice(names)) {
    used += 2 + widths[column]!;
    if (used > most || parts.length === 0) {
      parts.push([...named]);
      used = named.reduce((sum, at) => sum + widths[at]! + 2, widths[column]!);
    }
    parts.at(-1)!.push(column);
  }
  return parts.length === 0 ? [named] : parts;
}

/** Without the styles of a terminal. */
export const width = (cell: string): number => [...stripVTControlCharacters(cell)].length;
