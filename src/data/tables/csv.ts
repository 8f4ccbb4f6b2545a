/**
 * Tables of other people: text in cells between commas, semicolons or tabs, as the first line has them, with the names of
 * the columns in the first line. Numbers have a decimal point.
 */
import { parse } from "csv-parse/sync";
import { InputError, messageOf } from "../../base/errors.ts";
import { show } from "../../base/problem.ts";
import { readInput } from "../../base/text.ts";

interface Row {
  readonly line: number;
  /** As many as there are columns. */
  readonly cells: readonly string[];
}

/**
 * @param needed columns that are there and empty in no row
 * @throws InputError that names file and line: a row of another length, a column or a cell that is missing
 */
export function readCsv(path: string, needed: readonly string[]): { columns: readonly string[]; rows: readonly Row[] } {
  const [head, ...rows] = rowsIn(path);
  const columns = head?.cells ?? [];
  const wrong = (line: number, what: string) => new InputError(`${path} line ${line}: ${what}`);
  for (const name of needed) {
    if (!columns.includes(name)) throw wrong(1, `expected a column ${name}, got ${show(columns.join(", "))}`);
  }
  const twice = columns.find((name, at) => columns.indexOf(name) !== at);
  if (twice !== undefined) throw wrong(1, `there are two columns ${show(twice)}, expected different names`);
  for (const { line, cells } of rows) {
    if (cells.length !== columns.length) {
      const hint =
        cells.length > columns.length ? "; a number has a decimal point, and a text with a comma is quoted" : "";
      throw wrong(line, `has ${cells.length} cells, expected ${columns.length}${hint}`);
    }
    for (const name of needed) if (cells[columns.indexOf(name)] === "") throw wrong(line, `${name} is missing`);
  }
  return { columns, rows };
}

/** @throws InputError @param where file and line */
export function numberIn(cell: string, column: string, where: string): number {
  const value = decimal.test(cell) ? Number(cell) : Number.NaN;
  if (Number.isFinite(value)) return value;
  throw new InputError(`${where}: ${column} is ${show(cell)}, expected a number${hintOn(cell)}`);
}

/** `Number` reads "0x10" and "1_000" in ways of its own. */
const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const hintOn = (cell: string): string => (/^[+-]?\d[\d.]*,\d/.test(cell) ? " with a decimal point" : "");

function rowsIn(path: string): Row[] {
  const rows: Row[] = [];
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
