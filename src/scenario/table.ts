/** Tables of which some columns are numbers, and one may be names. */
import { numberIn, readCsv } from "../data/tables/csv.ts";

interface TableRow {
  readonly line: number;
  /** What stands in the column of names; empty for a table without one. */
  readonly name: string;
  readonly numbers: Readonly<Record<string, number>>;
}

interface Columns {
  readonly needed: readonly string[];
  /** Columns of numbers that are read; others are not. */
  readonly numbers: readonly string[];
  /** The column of names, if there is one. */
  readonly names?: string;
}

/** @throws InputError that names file and line: a row of another length, a cell that is missing or no number */
export function readTable(path: string, { needed, numbers: known, names = "" }: Columns): TableRow[] {
  const { columns, rows } = readCsv(path, needed);
  return rows.map(({ line, cells }) => {
    const numbers: Record<string, number> = {};
    for (const [at, name] of columns.entries()) {
      const cell = cells[at]!;
      if (cell !== "" && known.includes(name)) numbers[name] = numberIn(cell, name, `${path} line ${line}`);
    }
    return { line, name: cells[columns.indexOf(names)] ?? "", numbers };
  });
}
