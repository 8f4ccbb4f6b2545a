/**
 * Tables of numbers and a class in every line: three that come with the program, or a CSV file of the user's own.
 *
 *   x = (value − mean) ÷ deviation        of its column, over all examples, held-out ones included
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { mean, standardDeviation } from "simple-statistics";
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { digestOfFile } from "../../base/open.ts";
import { packageRoot } from "../../base/places.ts";
import { show } from "../../base/problem.ts";
import { owners, type RowData, shared } from "../examples.ts";
import type { RecordsSource } from "../source.ts";
import { numberIn, readCsv } from "./csv.ts";

const tableName = z.enum(["breast-cancer", "iris", "wine"]);

export const tableSourceSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("table"),
      name: tableName.describe("569 tumours of 30 numbers, 150 flowers of 4 or 178 wines of 13"),
    })
    .describe("a table that comes with the program"),
  z
    .strictObject({
      type: z.literal("csv"),
      path: z.string().min(1).describe("the file, relative to the scenario's"),
      label: z.string().min(1).default("class").describe("the column of classes; all others are numbers"),
    })
    .describe("a table of your own"),
]);

export type TableSource = Readonly<z.output<typeof tableSourceSchema>> | RecordsSource;

/** 569 tumours of 30 numbers, 150 flowers of 4 or 178 wines of 13: `assets/data/README.md` says whose. */
export const table = (name: z.output<typeof tableName>): TableSource => ({ type: "table", name });

/** Somebody's table; docs/data.md says what is read. */
export const csv = (path: string, { label = "class" } = {}): TableSource => ({ type: "csv", path, label });

export const isTableSource = (source: { readonly type: string }): source is TableSource =>
  source.type === "table" || source.type === "csv" || source.type === "records";

interface TableData extends RowData {
  /** Columns of numbers in the file's order, and what standardised them; `deviation` is 0 where all are equal. */
  readonly features: readonly { readonly name: string; readonly mean: number; readonly deviation: number }[];
}

interface Rows {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly where: string; readonly cells: readonly string[] }[];
  /** Where the columns are named, and all rows, as errors say it. */
  readonly head: string;
  readonly range: string;
  readonly label: string;
  readonly digest: string | null;
}

function rowsOf(source: TableSource, column: string | undefined): Rows {
  if (source.type === "records") return rowsOfRecords(source, column);
  const label = source.type === "csv" ? source.label : "class";
  const path = source.type === "csv" ? source.path : join(packageRoot(), "assets", "data", `${source.name}.csv`);
  const { columns, rows } = readCsv(path, column === undefined ? [label] : [label, column]);
  const placed = rows.map(({ line, cells }) => ({ where: `${path} line ${line}`, cells }));
  const range = `${path} lines 2 to ${rows.at(-1)?.line ?? 2}`;
  return { name: path, columns, rows: placed, head: `${path} line 1`, range, label, digest: digestOfFile(path) };
}

/** Of an array in the scenario: every row has the columns of the first. */
function rowsOfRecords({ records, label = "class" }: RecordsSource, column: string | undefined): Rows {
  const name = "data.source.records";
  const columns = Object.keys(records[0]!);
  for (const needed of [label, ...(column === undefined ? [] : [column])]) {
    if (!columns.includes(needed))
      throw new InputError(`${name}[0]: expected a column ${needed}, got ${columns.join(", ")}`);
  }
  const rows = records.map((record, at) => {
    const where = `${name}[${at}]`;
    const [other] = Object.keys(record).filter((key) => !columns.includes(key));
    if (other !== undefined) throw new InputError(`${where}: ${show(other)} is not a column of the first row`);
    const cells = columns.map((key) => {
      const value = record[key];
      if ((typeof value === "number" || typeof value === "string") && value !== "") return String(value);
      throw new InputError(`${where}: ${key} is ${show(value)}, expected a number or a text`);
    });
    return { where, cells };
  });
  return { name, columns, rows, head: `${name}[0]`, range: name, label, digest: null };
}

/**
 * @param column whose each row is, beside the numbers
 * @throws InputError naming file, line and column
 */
export function loadTable(source: TableSource, column?: string): TableData {
  const { name, columns, rows, head, range, label, digest } = rowsOf(source, column);
  const own = columns.filter((one) => one !== label && one !== column);
  if (own.length === 0) throw new InputError(`${head}: expected columns of numbers beside ${label}, got none`);
  const numbers = rows.map(({ where, cells }) => own.map((one) => numberIn(cells[columns.indexOf(one)]!, one, where)));
  const classes = rows.map(({ cells }) => cells[columns.indexOf(label)]!);
  const categoryNames = [...new Set(classes)].sort();
  if (categoryNames.length < 2 || categoryNames.length > mostClasses) {
    const { length } = categoryNames;
    throw new InputError(`${range}: ${label} has ${length} different values, expected 2 to ${mostClasses} classes`);
  }
  const labels = classes.map((name) => categoryNames.indexOf(name));
  const features = own.map((one, at) => {
    const values = numbers.map((row) => row[at]!);
    const deviation = new Set(values).size === 1 ? 0 : standardDeviation(values);
    if (!Number.isFinite(deviation)) throw new InputError(`${name}: the numbers of column ${one} are too large`);
    return { name: one, mean: mean(values), deviation };
  });
  const x = numbers.flatMap((row) => features.map((own, at) => (row[at]! - own.mean) / (own.deviation || 1)));
  const idle = features.filter(({ deviation }) => deviation === 0);
  return {
    examples: rows.length,
    columns: { x: { width: own.length, values: shared(Float32Array, x), scale: 1 } },
    labels: shared(Int32Array, labels),
    category: shared(Uint16Array, labels),
    categoryNames,
    ...(column !== undefined && owners(rows.map(({ cells }) => cells[columns.indexOf(column)]!))),
    questionHash: shared(Float64Array, numbers.map(hashOf)),
    digest,
    notes: idle.map(({ name }) => `column ${name} is the same in every line: nothing is learned from it`),
    features,
  };
}

const mostClasses = 1_000;

/** Where a row lies in [0, 1), a multiple of 2⁻⁴⁸: equal ones stay on one side of the held-out split. */
const hashOf = (row: readonly number[]): number =>
  createHash("sha256").update(`held-out ${row.join()}`).digest().readUIntBE(0, 6) / 2 ** 48;
