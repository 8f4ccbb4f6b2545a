/** Tables for terminals. Columns line up whatever colours the cells carry. */
import { stripVTControlCharacters } from "node:util";

export interface Column {
  readonly title: string;
  /** Numbers read best to the right; the default is left. */
  readonly align?: "left" | "right";
}

export type Cell = string | number | null;

export interface TableOptions {
  /** Put before every line. */
  readonly indent?: string;
  /** Applied to the header line, for a terminal's bold or dim. */
  readonly header?: (line: string) => string;
}

/** Columns two spaces apart, a rule under the header, no trailing blanks; null prints as `–`. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  { indent = "", header = (line) => line }: TableOptions = {},
): string {
  const titles = columns.map(({ title }) => title);
  const cells = rows.map((row) => columns.map((_, i) => text(row[i] ?? null)));
  const widths = columns.map((_, i) => Math.max(...[titles, ...cells].map((row) => width(row[i]!))));
  const line = (row: readonly string[]) => {
    const padded = row.map((cell, i) => {
      const gap = " ".repeat(widths[i]! - width(cell));
      return columns[i]!.align === "right" ? gap + cell : cell + gap;
    });
    return (indent + padded.join("  ")).trimEnd();
  };
  const rule = indent + widths.map((length) => "─".repeat(length)).join("──");
  return [header(line(titles)), rule, ...cells.map(line)].join("\n");
}

const text = (cell: Cell): string => (cell === null ? "–" : String(cell));
const width = (cell: string): number => [...stripVTControlCharacters(cell)].length;
