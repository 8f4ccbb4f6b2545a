/** Tables for terminals. Columns line up whatever colours the cells carry. */
import { stripVTControlCharacters } from "node:util";

/**
 * Columns two spaces apart, a rule under the titles, no trailing blanks.
 *
 * @param names how many columns, from the first, hold names and stand to the left; numbers stand to the right
 */
export function formatTable(
  titles: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  names = 0,
): string {
  const table = [titles, ...rows].map((row) => titles.map((_, column) => String(row[column] ?? "")));
  const widths = titles.map((_, column) => Math.max(...table.map((row) => width(row[column]!))));
  const [head, ...lines] = table.map((row) =>
    row
      .map((cell, column) => {
        const gap = " ".repeat(widths[column]! - width(cell));
        return column < names ? cell + gap : gap + cell;
      })
      .join("  ")
      .trimEnd(),
  );
  return [head, widths.map((length) => "─".repeat(length)).join("──"), ...lines].join("\n");
}

const width = (cell: string): number => [...stripVTControlCharacters(cell)].length;
