/** The experts' masks, as a program reads them from the parameters. */
import { invariant } from "../../base/errors.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { detach } from "../../tensor/ops/discrete.ts";
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
 * Masks are nothing that a step could learn: no gradient reaches them.
 *
 * @param parameters `[size]`
 * @returns of each layer, `[experts, channels]`
 */
export function masksOf(layout: ParameterLayout, parameters: Tensor): readonly Tensor[] {
  const { layers, channels, experts } = cutOf(layout);
  const size = routerSize(layout);
  const flat = split(detach(parameters), 0, [size, layout.size - size])[1]!;
  const rows = reshape(flat, [experts.length, layers * channels]);
  return layers === 1 ? [rows] : split(rows, 1, new Array<number>(layers).fill(channels));
}
