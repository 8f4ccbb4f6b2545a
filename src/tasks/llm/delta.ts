/** A change of all experts' matrices, given from outside: what FLoRA folds into the base. */
import { invariant } from "../../base/errors.ts";
import { type ModelConfig, sparseLayers } from "../../model/config.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add } from "../../tensor/ops/arithmetic.ts";
import { concat, reshape, split } from "../../tensor/ops/layout.ts";

/**
 * Asks for the vector of `../dense.ts` by the name `delta`: expert by expert its gate, up and down.
 *
 * @returns the input, and what makes it part of a matrix of the base
 */
export function deltaInput(graph: Graph, config: ModelConfig, clients: number) {
  const { experts, width, expertWidth } = config;
  const layers = sparseLayers(config);
  invariant(clients === 1, "a change of the base has no place where clients share a call");
  const matrix = width * expertWidth;
  const input = graph.input("delta", "float32", [layers.length * experts * 3 * matrix]);
  const ofLayers = split(input, 0, new Array<number>(layers.length).fill(experts * 3 * matrix));
  const added = new Map<string, Tensor>();
  for (const [layer, part] of ofLayers.entries()) {
    const [gate, up, down] = split(reshape(part, [experts, 3 * matrix]), 1, [matrix, matrix, matrix]);
    const inward = (t: Tensor) => reshape(t, [experts, width, expertWidth]);
    added.set(`layers.${layers[layer]}.gateUp`, concat([inward(gate!), inward(up!)], 2));
    added.set(`layers.${layers[layer]}.down`, reshape(down!, [experts, expertWidth, width]));
  }
  const onto = (name: string, weight: Tensor): Tensor => {
    const change = added.get(name);
    return change === undefined ? weight : add(weight, change);
  };
  return { input, onto };
}
