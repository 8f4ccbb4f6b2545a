/**
 * Ranks of which a router chooses, in the LoRA of the language model's experts: the model's own routers choose experts by
 * what a token says, these choose ranks by how degraded the prompt that it stands in is.
 *
 *   s = 1 − exp(−m)          m mean surprise of the prompt's tokens under the frozen base model, in nats
 *   y = W·x + alpha ÷ rank · B·(g(s) ∘ A·x)          g as in `../ranks.ts`: one router a layer, for all of its experts
 *
 * s is 1 less the geometric mean of the probabilities that the base model gives to what it reads. It is a number of a
 * prompt, with no gradient: a device works it out once, before it trains.
 */
import type { AdapterLayout, BlockName, SliceConfig } from "../../model/adapter.ts";
import { isToken } from "../../model/beside.ts";
import type { ModelConfig } from "../../model/config.ts";
import { headAt } from "../../model/head.ts";
import { type ForwardOptions, forward } from "../../model/transformer.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { addScalar, cast, clip, div, exp, mul, reduceSum, scale, sub } from "../../tensor/ops/arithmetic.ts";
import { integerDivide, less } from "../../tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows, scatterColumns, topK } from "../../tensor/ops/index-ops.ts";
import { concat, reshape, split, transpose } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import type { LowRankPair, ParameterLayout } from "../layout.ts";
import { type RankPass, type Ranks, realOf, route } from "../ranks.ts";
import type { RouterPass, Variant } from "../task.ts";

/** Candidates that a prompt is given at a budget: in proportion to the experts that a token activates, and one at least. */
export const candidatesAt = ({ topK: most }: SliceConfig, budget: number, { topK: full }: ModelConfig): number =>
  Math.ceil((most * budget) / full);

const ranksOf = ({ lora: { rank, slices } }: AdapterLayout): Ranks => {
  const { routed, zero } = slices!;
  return { shared: rank - routed, routed, zero };
};

/** Groups are each expert's routed ranks, expert after expert, then each expert's shared ranks, then a router a layer. */
export function slicesLayout(adapter: AdapterLayout): ParameterLayout {
  const { layers, experts, size, rankRouters, lora, blocks, matrix } = adapter;
  const { shared, routed } = ranksOf(adapter);
  const { rank } = lora;
  const columns = new Map(blocks.map((block) => [block.name, block.columns]));
  const all = Array.from({ length: layers * experts }, (_, expert) => expert);
  const routedRanks = Array.from({ length: all.length * routed }, (_, group) => group);
  const factors: readonly (readonly [a: BlockName, half: number, b: BlockName])[] = [
    ["gateUpA", 0, "gateB"],
    ["gateUpA", rank, "upB"],
    ["downA", 0, "downB"],
  ];
  const pairOf = (expert: number, at: number, [a, half, b]: (typeof factors)[number]): LowRankPair => {
    const [inputs, outputs] = [columns.get(a)!, columns.get(b)!];
    const group = at < shared ? routedRanks.length + expert : expert * routed + at - shared;
    const places = { a: matrix(a, expert).start + (half + at) * inputs, b: matrix(b, expert).start + at * outputs };
    return { group, rank: 1, inputs, outputs, scale: lora.alpha / rank, ...places };
  };
  const rows = (expert: number, from: number, count: number) =>
    factors.flatMap((factor) => {
      const { a, b, inputs, outputs } = pairOf(expert, from, factor);
      return [
        { start: a, end: a + count * inputs },
        { start: b, end: b + count * outputs },
      ];
    });
  const nameOf = (expert: number) => `layer ${Math.floor(expert / experts)}, expert ${expert % experts}`;
  const ofRouted = routedRanks.map((group) => {
    const [expert, at] = [Math.floor(group / routed), group % routed];
    return { name: `${nameOf(expert)}, rank ${at}`, ranges: rows(expert, shared + at, 1) };
  });
  const ofShared = all.map((expert) => ({ name: `${nameOf(expert)}, shared ranks`, ranges: rows(expert, 0, shared) }));
  const routers = rankRouters.map((range, layer) => ({ name: `layer ${layer}, router of ranks`, ranges: [range] }));
  const pairs = all.flatMap((expert) =>
    Array.from({ length: rank }, (_, at) => factors.map((factor) => pairOf(expert, at, factor))).flat(),
  );
  return { size, groups: [...ofRouted, ...(shared > 0 ? ofShared : []), ...routers], pairs, routedRanks };
}

export interface SlicePass {
  /** What each layer's router said of each row. */
  readonly routings: readonly (RankPass & { readonly gates: Tensor })[];
  /** s̄ of each row, `[rows, 1]`. */
  readonly severity: Tensor;
  /** What each rank of a layer counts for copies of tokens, by their places, `[copies, rank]`. */
  gates(layer: number, positions: Tensor): Tensor;
}

/**
 * @param options of the model that trains
 * @param routers of each layer, flat, client after client
 */
export function slicePass(
  options: ForwardOptions,
  adapter: AdapterLayout,
  batch: { readonly ids: Tensor; readonly padding: Tensor; readonly positions: Tensor },
  routers: readonly Tensor[],
  clients: number,
  variant: Variant,
): SlicePass {
  const { topK: experts, length, config } = options;
  const severity = degradation(options, batch);
  const most = (variant.ranks as number | undefined) ?? candidatesAt(adapter.lora.slices!, experts, config);
  const gateNorm = variant.gates === "none" ? "none" : "topk";
  const routings = routers.map((router) =>
    route({ ranks: ranksOf(adapter), most, gateNorm, clients }, router, severity),
  );
  return {
    routings,
    severity,
    gates: (layer, positions) => gatherRows(routings[layer]!.gates, integerDivide(positions, experts * length)),
  };
}

/** s of each row, `[rows, 1]`; 0 where there is nothing to be surprised at. */
function degradation({ adapted: _, ...base }: ForwardOptions, batch: Parameters<typeof slicePass>[2]): Tensor {
  const { config, rows, length } = base;
  const { ids, padding, positions } = batch;
  const { graph } = padding.node;
  const whole = { ...base, topK: config.topK };
  const everywhere = graph.constant(
    Array.from({ length: rows * length }, (_, at) => at),
    [rows * length],
    "int32",
  );
  const { hidden } = forward(whole, ids, padding);
  /** Of each token, what the next one has; `last` where there is none. */
  const next = (t: Tensor, last: Tensor) =>
    length === 1 ? last : concat([split(reshape(t, [rows, length]), 1, [1, length - 1])[1]!, last], 1);
  const first = length === 1 ? ids : split(ids, 1, [1, length - 1])[0]!;
  const surprise = headAt(whole, hidden, everywhere, reshape(next(ids, first), [rows * length])).losses();
  const ones = less(graph.constant([-1], [1]), cast(positions, "float32"));
  const isAnswer = reshape(scatterAddRows(ones, positions, rows * length), [rows, length]);
  const isRead = sub(next(isToken(padding), graph.zeros([rows, 1])), isAnswer);
  const total = reduceSum(mul(reshape(surprise, [rows, length]), isRead), [1], true);
  const read = clip(reduceSum(isRead, [1], true), 1, length);
  return addScalar(scale(exp(scale(div(total, read), -1)), -1), 1);
}

/**
 * Of each routed rank of an expert the tokens of prompts that chose it which reached the expert, of shared ranks all that
 * reached it, of routers all tokens: `[groups · clients]` int64.
 *
 * @param tokens `[tokens, 1]`, 1 where there is one, client after client
 */
export function sliceCounts(
  adapter: AdapterLayout,
  routers: readonly Pick<RouterPass, "probabilities">[],
  { routings, severity }: SlicePass,
  tokens: Tensor,
  clients: number,
  active: number,
): Tensor {
  const { experts } = adapter;
  const [rows] = severity.shape as [number];
  const length = (tokens.shape[0] as number) / rows;
  const each = rows / clients;
  const perClient = (t: Tensor) => reshape(t, [clients, each, t.shape[1] as number]);
  const reached = routers.map(({ probabilities }) => {
    const { values, indices } = topK(probabilities, active);
    const ones = addScalar(scale(values, 0), 1);
    const went = mul(scatterColumns(ones, indices, experts), tokens);
    return perClient(reduceSum(reshape(went, [rows, length, experts]), [1]));
  });
  const routed = reached.map((of, layer) => {
    const chosen = perClient(realOf(routings[layer]!));
    const counts = matmul(transpose(of, [0, 2, 1]), chosen);
    return reshape(counts, [clients, experts * (chosen.shape[2] as number)]);
  });
  const shared = ranksOf(adapter).shared > 0 ? reached.map((of) => reduceSum(of, [1])) : [];
  const all = reduceSum(reshape(tokens, [clients, each * length]), [1], true);
  const counts = concat([...routed, ...shared, ...routings.map(() => all)], 1);
  return cast(reshape(transpose(counts, [1, 0]), [(counts.shape[1] as number) * clients]), "int64");
}

/** No rank was used oftener than there are tokens. */
export function sliceCountProblem(counts: Float64Array, tokens: number): string | null {
  const at = counts.findIndex((count) => !(Number.isSafeInteger(count) && count >= 0 && count <= tokens));
  return at < 0 ? null : `group ${at} was used ${counts[at]} times by ${tokens} tokens`;
}
