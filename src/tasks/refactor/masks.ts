/** The experts' masks, as a program reads them from the parameters. */
import { invariant } from "../../base/errors.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { square } from "../../tensor/ops/arithmetic.ts";
import { detach, less } from "../../tensor/ops/discrete.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import type { Cut, ParameterLayout } from "../layout.ts";

export function cutOf({ cut }: ParameterLayout): Cut {
  invariant(cut !== undefined, "the task cuts no dense model");
  return cut;
}

/** How many parameters the router has; the experts' masks lie behind them. */
export function routerSize(layout: ParameterLayout): number {
  const { layers, channels, experts } = cutOf(layout);
  return layout.size - experts.length * layers * channels;
}

/**
 * Which channels an expert keeps is nothing that a step could learn: no gradient reaches masks.
 *
 * @param parameters `[size]`
 * @returns of each layer, `[experts, channels]`
 */
export const masksOf = (layout: ParameterLayout, parameters: Tensor): readonly Tensor[] =>
  gainsOf(layout, detach(parameters));

/** The same as what channels are multiplied by, which a step may learn where it is not 0. */
export function gainsOf(layout: ParameterLayout, parameters: Tensor): readonly Tensor[] {
  const { layers, channels, experts } = cutOf(layout);
  const size = routerSize(layout);
  const flat = split(parameters, 0, [size, layout.size - size])[1]!;
  const rows = reshape(flat, [experts.length, layers * channels]);
  return layers === 1 ? [rows] : split(rows, 1, new Array<number>(layers).fill(channels));
}

/** 1 where a gain is not 0, which says that a channel is kept; carries no gradient. */
export function keptIn(gains: Tensor): Tensor {
  return less(gains.node.graph.constant([0], [1]), square(detach(gains)));
}
