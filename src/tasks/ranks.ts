/**
 * Ranks as experts: the low-rank change of a frozen product, some of whose ranks a router chooses for each input by how
 * degraded that is, s in [0, 1)^P, and not by what it shows.
 *
 *   y = W·x + scale·(Σ_j B_j·(A_j·x) + Σ_{i∈T} g_i·B_i·(A_i·x))      j shared, always on; i routed
 *   p = softmax(R·s + r),   T = the k largest of p, the lower index where two are equal
 *   g = p ÷ Σ_{i∈T} p_i, or p as it is
 *
 * Candidates are the routed ranks and after them zero slots, which hold nothing and cost nothing: where T has some, the
 * change has fewer ranks, and g is divided by the sum over all of T, so it is smaller too. The scale is one constant for
 * all ranks; what is switched off does not rescale the rest.
 *
 * Parameters of one product, in this order:
 *
 *   A   [ranks, inputs]       shared ranks first
 *   Bᵀ  [ranks, outputs]      so that a rank is a row of each
 *   R   [candidates, P + 1]   the last column is r
 *
 * He et al., "Mixture of Ranks with Degradation-Aware Routing for One-Step Real-World Image Super-Resolution", 2025,
 * https://arxiv.org/abs/2511.16024. How gates are normalised, the scale and the router's one layer are ours.
 */
import type { Draws } from "../base/random.ts";
import type { FlatTensor } from "../model/formats/flat-tensors.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, addScalar, div, mul, reduceSum, scale } from "../tensor/ops/arithmetic.ts";
import { detach } from "../tensor/ops/discrete.ts";
import { scatterColumns, topK } from "../tensor/ops/index-ops.ts";
import { concat, reshape, split } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { softmax } from "../tensor/ops/nn.ts";
import type { LowRankPair, ParameterLayout } from "./layout.ts";

type Group = ParameterLayout["groups"][number];

export interface Ranks {
  /** m_s, always on. */
  readonly shared: number;
  /** n; with none there is no router, and the change is plain LoRA. */
  readonly routed: number;
  /** n_0, candidates that hold nothing. */
  readonly zero: number;
}

/** A frozen product that is changed. */
export interface Product {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** N, among which a router chooses. */
const candidatesOf = ({ routed, zero }: Ranks): number => (routed === 0 ? 0 : routed + zero);

/** Lengths of A, Bᵀ and R. */
function partsOf({ inputs, outputs }: Product, ranks: Ranks, scores: number): readonly [number, number, number] {
  const all = ranks.shared + ranks.routed;
  return [all * inputs, all * outputs, candidatesOf(ranks) * (scores + 1)];
}

/**
 * Groups are the routed ranks, product after product, then the shared ranks of each product, then the routers. Each rank is
 * a pair.
 *
 * @param scores P, numbers that say how degraded an input is
 * @param factor what changes are multiplied by
 */
export function ranksLayout(
  products: readonly Product[],
  ranks: Ranks,
  scores: number,
  factor: number,
): ParameterLayout & { readonly routedRanks: readonly number[] } {
  const { shared, routed } = ranks;
  const routedRanks = Array.from({ length: products.length * routed }, (_, group) => group);
  const groups = { routed: [] as Group[], shared: [] as Group[], routers: [] as Group[] };
  const pairs: LowRankPair[] = [];
  let size = 0;
  for (const [at, product] of products.entries()) {
    const { name, inputs, outputs } = product;
    const [sizeOfA, sizeOfB, sizeOfRouter] = partsOf(product, ranks, scores);
    const [a, b, router] = [size, size + sizeOfA, size + sizeOfA + sizeOfB];
    size = router + sizeOfRouter;
    const rows = (from: number, count: number) => [
      { start: a + from * inputs, end: a + (from + count) * inputs },
      { start: b + from * outputs, end: b + (from + count) * outputs },
    ];
    if (shared > 0) groups.shared.push({ name: `${name}, shared ranks`, ranges: rows(0, shared) });
    for (let rank = 0; rank < routed; rank++)
      groups.routed.push({ name: `${name}, rank ${rank}`, ranges: rows(shared + rank, 1) });
    if (routed > 0) groups.routers.push({ name: `${name}, router`, ranges: [{ start: router, end: size }] });
    for (let rank = 0; rank < shared + routed; rank++) {
      const group = rank < shared ? routedRanks.length + at : at * routed + rank - shared;
      const places = { a: a + rank * inputs, b: b + rank * outputs };
      pairs.push({ group, rank: 1, inputs, outputs, scale: factor, ...places });
    }
  }
  return { size, groups: [...groups.routed, ...groups.shared, ...groups.routers], pairs, routedRanks };
}

/** Where each product's A, B and router lie, by the names that files have. */
export function rankTensors(products: readonly Product[], ranks: Ranks, scores: number): FlatTensor[] {
  const all = ranks.shared + ranks.routed;
  let start = 0;
  return products.flatMap((product) => {
    const { name, inputs, outputs } = product;
    const [sizeOfA, sizeOfB, sizeOfRouter] = partsOf(product, ranks, scores);
    const tensors = [
      { name: `${name}.A`, shape: [all, inputs], start },
      { name: `${name}.B`, shape: [outputs, all], start: start + sizeOfA, transposed: true },
      { name: `${name}.router`, shape: [candidatesOf(ranks), scores + 1], start: start + sizeOfA + sizeOfB },
    ];
    start += sizeOfA + sizeOfB + sizeOfRouter;
    return sizeOfRouter === 0 ? tensors.slice(0, 2) : tensors;
  });
}

/**
 * A uniform in ±1/√inputs, B zero, so that nothing is changed at first. R and r are small normals: ranks differ from the
 * first step, and what an input is given is soon a matter of what was learned and not of this draw.
 */
export function initialRanks(
  products: readonly Product[],
  ranks: Ranks,
  scores: number,
  drawsOf: (product: number) => Draws,
): Float32Array {
  const values: number[] = [];
  for (const [at, product] of products.entries()) {
    const draws = drawsOf(at);
    const [sizeOfA, sizeOfB, sizeOfRouter] = partsOf(product, ranks, scores);
    const bound = 1 / Math.sqrt(product.inputs);
    for (let i = 0; i < sizeOfA; i++) values.push(bound * (2 * draws.uniform() - 1));
    for (let i = 0; i < sizeOfB; i++) values.push(0);
    for (let i = 0; i < sizeOfRouter; i++) values.push(0.1 * draws.normal());
  }
  return Float32Array.from(values);
}

/** What a product's router said about each input of a batch. */
export interface RankPass {
  /** p, `[rows, candidates]`. */
  readonly probabilities: Tensor;
  /** 1 for what was chosen, `[rows, candidates]`. Carries no gradient. */
  readonly selected: Tensor;
  /** n: the candidates before the zero slots. */
  readonly routed: number;
}

/** 1 for each routed rank that a row chose, `[rows, routed]`. */
export function realOf({ selected, routed }: RankPass): Tensor {
  const zero = (selected.shape[1] as number) - routed;
  return zero === 0 ? selected : split(selected, 1, [routed, zero])[0]!;
}

export interface RankChoice {
  readonly ranks: Ranks;
  /** What the change is multiplied by. */
  readonly scale: number;
  /** k, candidates that an input gets; all there are where it is more. */
  readonly most: number;
  readonly gateNorm: "topk" | "none";
  readonly clients: number;
}

/** One product's change of what it gives, `[rows, places, outputs]`, for inputs `[rows, places, inputs]`. */
export interface RankedChange {
  /** Null where nothing is routed. */
  readonly routing: RankPass | null;
  of(x: Tensor): Tensor;
}

/**
 * @param parameters `[size]`, or `[clients, size]`
 * @param degradation s of each row, `[rows, P]`, client after client
 */
export function rankedChanges(
  choice: RankChoice,
  products: readonly Product[],
  parameters: Tensor,
  degradation: Tensor,
): RankedChange[] {
  const { ranks, clients } = choice;
  const [rows, scores] = degradation.shape as [number, number];
  const lead = clients === 1 ? [] : [clients];
  const all = ranks.shared + ranks.routed;
  const lengths = products.map((product) => partsOf(product, ranks, scores));
  const parts = split(
    parameters,
    -1,
    lengths.flatMap((sizes) => sizes.filter((size) => size > 0)),
  );
  const each = parts.length / products.length;
  return products.map(({ inputs, outputs }, at) => {
    const [flatA, flatB, router] = parts.slice(at * each, (at + 1) * each) as [Tensor, Tensor, Tensor | undefined];
    const a = reshape(flatA, [...lead, all, inputs]);
    const b = reshape(flatB, [...lead, all, outputs]);
    const routing = router === undefined ? null : route(choice, router, degradation);
    return {
      routing,
      of(x) {
        const [, places] = x.shape as [number, number];
        const inside = [...lead, (rows / clients) * places];
        const seen = matmul(reshape(x, [...inside, inputs]), a, { transposeB: true });
        const gated =
          routing === null ? seen : mul(reshape(seen, [rows, places, all]), reshape(routing.gates, [rows, 1, all]));
        const change = matmul(reshape(gated, [...inside, all]), b, { alpha: choice.scale });
        return reshape(change, [rows, places, outputs]);
      },
    };
  });
}

/**
 * @param router R and r of one product, or of each client's
 * @returns with gates of all ranks, 1 for shared ones, `[rows, ranks]`
 */
export function route(
  { ranks, most, gateNorm, clients }: Omit<RankChoice, "scale">,
  router: Tensor,
  degradation: Tensor,
): RankPass & { readonly gates: Tensor } {
  const [rows, scores] = degradation.shape as [number, number];
  const { shared, routed, zero } = ranks;
  const lead = clients === 1 ? [] : [clients];
  const candidates = candidatesOf(ranks);
  const [weights, bias] = split(reshape(router, [...lead, candidates, scores + 1]), -1, [scores, 1]) as [
    Tensor,
    Tensor,
  ];
  const products = matmul(reshape(degradation, [...lead, rows / clients, scores]), weights, { transposeB: true });
  const logits = add(products, reshape(bias, [...lead, 1, candidates]));
  const probabilities = softmax(reshape(logits, [rows, candidates]));
  const { values, indices } = topK(probabilities, Math.min(most, candidates));
  const selected = detach(scatterColumns(addScalar(scale(values, 0), 1), indices, candidates));
  const chosen = mul(probabilities, selected);
  const weighted = gateNorm === "topk" ? div(chosen, reduceSum(chosen, [-1], true)) : chosen;
  const real = zero === 0 ? weighted : split(weighted, -1, [routed, zero])[0]!;
  const ones = router.node.graph.constant(new Array<number>(rows * shared).fill(1), [rows, shared]);
  return { probabilities, selected, routed, gates: shared === 0 ? real : concat([ones, real], -1) };
}
