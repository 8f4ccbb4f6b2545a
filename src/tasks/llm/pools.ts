/** Small experts beside the mixture, as the language model's task has them: groups, variants and counts. */
import type { BesideChoice, BesideLayout, BesideOutput } from "../../model/beside.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { cast, reduceSum } from "../../tensor/ops/arithmetic.ts";
import { concat, reshape } from "../../tensor/ops/layout.ts";
import type { ParameterLayout } from "../layout.ts";
import type { Variant } from "../task.ts";

/** A group a small expert, numbered through the layers, and after them a group a router of each layer. */
export function poolLayout({ size, layers, beside, blocks, range }: BesideLayout): ParameterLayout {
  const { experts } = beside;
  const groups = Array.from({ length: layers * experts }, (_, expert) => ({
    name: `layer ${Math.floor(expert / experts)}, small expert ${expert % experts}`,
    ranges: blocks.filter(({ name }) => name !== "router").map(({ name }) => range(name, expert)),
  }));
  const routers = Array.from({ length: layers }, (_, layer) => ({
    name: `layer ${layer}, router of the small experts`,
    ranges: [{ start: range("router", layer * experts).start, end: range("router", (layer + 1) * experts - 1).end }],
  }));
  return { size, groups: [...groups, ...routers], pairs: [] };
}

/** A variant says how many small experts a token keeps, all unless it does, and which of their weights are left raw. */
export const choiceOf = (layout: BesideLayout, clients: number, { kept, gates }: Variant): BesideChoice => ({
  layout,
  clients,
  kept: (kept as number | undefined) ?? layout.beside.experts,
  renormalise: gates !== "raw",
});

/**
 * Of every small expert the tokens that kept it, of every router all tokens: `[groups · clients]` int64.
 *
 * @param tokens `[tokens, 1]`, 1 where there is one, client after client
 */
export function poolCounts(pools: readonly BesideOutput[], tokens: Tensor, clients: number): Tensor {
  const each = (tokens.shape[0] as number) / clients;
  const ofClient = cast(reduceSum(reshape(tokens, [clients, each]), [1]), "int64");
  return concat([...pools.map(({ counts }) => counts), ...pools.map(() => ofClient)], 0);
}
