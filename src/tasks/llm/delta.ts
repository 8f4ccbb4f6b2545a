/** A change of all matrices that LoRA lies on, given from outside: what FLoRA folds into the base. */
import { invariant } from "../../base/errors.ts";
import type { AdapterLayout } from "../../model/adapter.ts";
import { sparseLayers } from "../../model/config.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add } from "../../tensor/ops/arithmetic.ts";
import { concat, reshape, split } from "../../tensor/ops/layout.ts";

/**
 * Asks for the vector of `../dense.ts` by the name `delta`: expert by expert its gate, up and down; then layer by layer q, k, v
 * and o where LoRA lies on attention.
 *
 * @returns the input, and what makes it part of a matrix of the base
 */
export function deltaInput(graph: Graph, { model, attention }: AdapterLayout, clients: number) {
  const { experts, width, expertWidth } = model;
  const layers = sparseLayers(model);
  invariant(clients === 1, "a change of the base has no place where clients share a call");
  const matrix = width * expertWidth;
  const projections = attention.flatMap(({ pairs }) => pairs);
  const sizes = [
    ...layers.map(() => experts * 3 * matrix),
    ...projections.map(({ inputs, outputs }) => inputs * outputs),
  ];
  const input = graph.input("delta", "float32", [sizes.reduce((sum, size) => sum + size, 0)]);
  const parts = split(input, 0, sizes);
  const added = new Map<string, Tensor>();
  for (const [layer, part] of parts.slice(0, layers.length).entries()) {
    const [gate, up, down] = split(reshape(part, [experts, 3 * matrix]), 1, [matrix, matrix, matrix]);
    const inward = (t: Tensor) => reshape(t, [experts, width, expertWidth]);
    added.set(`layers.${layers[layer]}.gateUp`, concat([inward(gate!), inward(up!)], 2));
    added.set(`layers.${layers[layer]}.down`, reshape(down!, [experts, expertWidth, width]));
  }
  const squares = projections.map(({ inputs, outputs }, at) => reshape(parts[layers.length + at]!, [inputs, outputs]));
  for (const layer of attention.keys()) {
    const [q, k, v, o] = squares.slice(4 * layer) as [Tensor, Tensor, Tensor, Tensor];
    added.set(`layers.${layer}.qkv`, concat([q, k, v], 1));
    added.set(`layers.${layer}.o`, o);
  }
  const onto = (name: string, weight: Tensor): Tensor => {
    const change = added.get(name);
    return change === undefined ? weight : add(weight, change);
  };
  return { input, onto };
}
