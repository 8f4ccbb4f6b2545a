/**
 * Tables of numbers and a class in every line: three that come with the program, or a CSV file of the user's own.
 *
 *   x = (value − mean) ÷ deviation        of its column, over all examples, held-out ones included
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { mean, standardDeviation } from "simple-statistics";
import { z } from "zod";
import { InputError } from "../../base/errors.ts";
import { digestOfFile } from "../../base/open.ts";
import { packageRoot } from "../../base/package-root.ts";
import { type RowData, shared } from "../examples.ts";
import { numberIn, readCsv } from "./csv.ts";

const tableName = z.enum(["breast-cancer", "iris", "wine"]);

export const tableSourceSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("table"), name: tableName }),
  /** `label` is the column of classes; all others are numbers. */
  z.strictObject({ type: z.literal("csv"), path: z.string().min(1), label: z.string().min(1).default("class") }),
]);

export type TableSource = Readonly<z.output<typeof tableSourceSchema>>;

/** 569 tumours of 30 numbers, 150 flowers of 4 or 178 wines of 13: `assets/data/README.md` says whose. */
export const table = (name: z.output<typeof tableName>): TableSource => ({ type: "table", name });

/** Somebody's table; docs/data.md says what is read. */
export const csv = (path: string, { label = "class" } = {}): TableSource => ({ type: "csv", path, label });

export const isTableSource = (source: { readonly type: string }): source is TableSource =>
  source.type === "table" || source.type === "csv";

interface TableData extends RowData {
  /** Columns of numbers in the file's order, and what standardised them; `deviation` is 0 where all are equal. */
  readonly features: readonly { readonly name: string; readonly mean: number; readonly deviation: number }[];
}

/** @throws InputError naming file, line and column */
export function loadTable(source: TableSource): TableData {
  const label = source.type === "csv" ? source.label : "class";
  const path = source.type === "csv" ? source.path : join(packageRoot(), "assets", "data", `${source.name}.csv`);
  const { columns, rows } = readCsv(path, [label]);
  const own = columns.filter((name) => name !== label);
  if (own.length === 0) throw new InputError(`${path} line 1: expected columns of numbers beside ${label}, got none`);
  const numbers = rows.map(({ line, cells }) =>
    own.map((name) => numberIn(cells[columns.indexOf(name)]!, name, `${path} line ${line}`)),
  );
  const classes = rows.map(({ cells }) => cells[columns.indexOf(label)]!);
  const categoryNames = [...new Set(classes)].sort();
  if (categoryNames.length < 2 || categoryNames.length > mostClasses) {
    const where = `${path} lines 2 to ${rows.at(-1)?.line ?? 2}`;
    const { length } = categoryNames;
    throw new InputError(`${where}: ${label} has ${length} different values, expected 2 to ${mostClasses} classes`);
  }
  const labels = classes.map((name) => categoryNames.indexOf(name));
  const features = own.map((name, at) => {
    const values = numbers.map((row) => row[at]!);
    const deviation = new Set(values).size === 1 ? 0 : standardDeviation(values);
    if (!Number.isFinite(deviation)) throw new InputError(`${path}: the numbers of column ${name} are too large`);
    return { name, mean: mean(values), deviation };
  });
  const x = numbers.flatMap((row) => features.map((own, at) => (row[at]! - own.mean) / (own.deviation || 1)));
  const idle = features.filter(({ deviation }) => deviation === 0);
  return {
    examples: rows.length,
    columns: { x: { width: own.length, values: shared(Float32Array, x), scale: 1 } },
    labels: shared(Int32Array, labels),
    category: shared(Uint16Array, labels),
    categoryNames,
    questionHash: shared(Float64Array, numbers.map(hashOf)),
    digest: digestOfFile(path),
    notes: idle.map(({ name }) => `column ${name} is the same in every line: nothing is learned from it`),
    features,
  };
}

const mostClasses = 1_000;

/** Where a row lies in [0, 1), a multiple of 2⁻⁴⁸: equal ones stay on one side of the held-out split. */
const hashOf = (row: readonly number[]): number =>
  createHash("sha256").update(`held-out ${row.join()}`).digest().readUIntBE(0, 6) / 2 ** 48;
