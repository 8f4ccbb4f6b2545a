/** Steps of a random program that read rows or columns by number, or add to them. */
import { isRagged, sizeOf } from "../../src/tensor/graph/shape.ts";
import { gatherColumns, gatherRows, scatterAddRows } from "../../src/tensor/ops/index-ops.ts";
import { isStatic, last, pick } from "./random-picks.ts";
import type { Grow } from "./random-programs.ts";

export const gathered: Grow = (growth, { a, b, c }) => {
  const table = pick(growth, a, (t) => typeof t.shape[0] === "number")!;
  const rows = table.shape[0] as number;
  const index =
    c % 4 === 0
      ? growth.labels([growth.graph.symbol("picked")], 2 + (b % 3), rows, "int32")
      : growth.labels(c % 4 === 1 ? [3] : [2, 2], c % 4 === 1 ? 3 : 4, rows, c % 4 === 2 ? "int64" : "int32");
  growth.integers.push({ tensor: index, limit: rows });
  return isStatic(table) ? [gatherRows(table, index)] : [];
};

export const picked: Grow = (growth, { a, b }) => {
  const x = pick(growth, a, (t) => t.shape.length > 1 && last(t) !== undefined && !isRagged(t.shape));
  if (!x) return [];
  const count = growth.value(x).data.length / last(x)!;
  const type = b % 2 === 0 ? "int32" : "int64";
  return [gatherColumns(x, growth.labels([...x.shape.slice(0, -1), 1], count, last(x)!, type))];
};

export const scattered: Grow = (growth, { a, b }) => {
  const values = pick(growth, a, ({ shape }) => shape.length > 0 && shape.every((dim) => typeof dim === "number"))!;
  const rows = 1 + (b % 4);
  const lead = values.shape.length > 2 && b % 2 === 0 ? 2 : 1;
  const index = growth.labels(values.shape.slice(0, lead), sizeOf(values.shape.slice(0, lead)), rows, "int64");
  const sums = scatterAddRows(values, index, rows);
  return [b % 3 === 0 ? scatterAddRows(values, index, rows, sums) : sums];
};
