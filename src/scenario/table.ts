/**
 * Tables of other people: text in cells between commas, semicolons or tabs, as the first line has them, with the names of
 * the columns in the first line. Numbers have a decimal point.
 */
import { parse } from "csv-parse/sync";
import { InputError, messageOf } from "../base/errors.ts";
import { show } from "../base/problem.ts";
import { readInput } from "../base/text.ts";

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
  const [head, ...rows] = rowsIn(path);
  const columns = head?.cells ?? [];
  const wrong = (line: number, what: string) => new InputError(`${path} line ${line}: ${what}`);
  for (const name of needed) {
    if (!columns.includes(name)) throw wrong(1, `expected a column ${name}, got ${show(columns.join(", "))}`);
  }
  const twice = columns.find((name, at) => columns.indexOf(name) !== at);
  if (twice !== undefined) throw wrong(1, `there are two columns ${show(twice)}, expected different names`);
  return rows.map(({ line, cells }) => {
    if (cells.length !== columns.length) {
      const hint =
        cells.length > columns.length ? "; a number has a decimal point, and a text with a comma is quoted" : "";
      throw wrong(line, `has ${cells.length} cells, expected ${columns.length}${hint}`);
    }
    const numbers: Record<string, number> = {};
    for (const [at, name] of columns.entries()) {
      const cell = cells[at]!;
      if (cell === "" && needed.includes(name)) throw wrong(line, `${name} is missing`);
      if (cell === "" || !known.includes(name)) continue;
      numbers[name] = decimal.test(cell) ? Number(cell) : Number.NaN;
      if (!Number.isFinite(numbers[name]))
        throw wrong(line, `${name} is ${show(cell)}, expected a number${hintOn(cell)}`);
    }
    return { line, name: cells[columns.indexOf(names)] ?? "", numbers };
  });
}

/** `Number` reads "0x10" and "1_000" in ways of its own. */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const hintOn = (cell: string): string => (/^[+-]?\d[\d.]*,\d/.test(cell) ? " with a decimal point" : "");

function rowsIn(path: string): { readonly line: number; readonly cells: readonly string[] }[] {
  const rows: { line: number; cells: string[] }[] = [];
  const text = readInput(path);
  const [head = ""] = text.split("\n", 1);
  const [delimiter = ","] = head.replace(/"[^"]*"/g, "").match(/[,;\t]/) ?? [];
  try {
    parse(text, {
      delimiter,
      bom: true,
      trim: true,
      skip_empty_lines: true,
      relax_column_count: true,
      on_record(cells: string[], { lines: line }) {
        rows.push({ line, cells });
        return null;
      },
    });
  } catch (cause) {
    throw new InputError(`${path} is no table: ${messageOf(cause)}`, { cause });
  }
  return rows;
}
