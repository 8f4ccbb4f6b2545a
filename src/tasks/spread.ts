/** From groups to parameters, within a program. */
import type { Tensor } from "../tensor/graph/ir.ts";
import { addScalar, mul } from "../tensor/ops/arithmetic.ts";
import { gatherRows } from "../tensor/ops/index-ops.ts";
import { concat, reshape } from "../tensor/ops/layout.ts";
import type { ParameterLayout } from "./layout.ts";

/** One number a group, `[groups]`, to each of its parameters, `[size]`. Carries gradients. */
export function spread({ groups }: Pick<ParameterLayout, "groups">, perGroup: Tensor): Tensor {
  const { graph } = perGroup.node;
  const ranges = groups
    .flatMap(({ ranges }, group) => ranges.map(({ start, end }) => ({ group, start, length: end - start })))
    .sort((a, b) => a.start - b.start);
  const column = reshape(perGroup, [groups.length, 1]);
  const parts: Tensor[] = [];
  for (let from = 0; from < ranges.length; ) {
    const { length } = ranges[from]!;
    let until = from + 1;
    while (ranges[until]?.length === length) until++;
    // Neighbours of one length are the rows of a matrix.
    const run = ranges.slice(from, until).map(({ group }) => group);
    const rows = gatherRows(column, graph.constant(run, [run.length], "int64"));
    parts.push(reshape(mul(rows, addScalar(graph.zeros([1, length]), 1)), [run.length * length]));
    from = until;
  }
  return concat(parts, 0);
}
