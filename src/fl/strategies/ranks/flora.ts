/** FLoRA: stacked factors, folded into the base model without loss; every round begins with fresh ones. */
import * as z from "zod";
import type { Draws } from "../../../base/random.ts";
import { denseOffsets } from "../../../tasks/dense.ts";
import { scalarsOf } from "../../../tasks/scope.ts";
import type { Setting } from "../../../tasks/task.ts";
import { averagingFields, averagingWeight } from "../../averaging.ts";
import { addProduct, emptySum, type ProductSum } from "../../low-rank/products.ts";
import type { ClientMemory } from "../../plan.ts";
import type { ServerState } from "../../strategy.ts";
import { hasTrained, sentValues } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { inParts, writeFactors } from "./factors.ts";
import {
  fullRank,
  planOfRank,
  rankFields,
  rankFor,
  rankOfPlan,
  rankProblems,
  scaleField,
  scaleOfPlan,
  variantFor,
} from "./ranks.ts";

interface Sum {
  readonly products: readonly ProductSum[];
  readonly weight: Float64Array;
  /** Rows of each group's stack. */
  readonly ranks: Float64Array;
}

export const flora = defineStrategy({
  type: "flora",
  about: {
    adapts: "the rank; products are summed exactly and become part of the base, clients begin with fresh factors",
    formula: `
      Δ ← Δ + [B_1 | … | B_K]·[p_1·s_1·A_1; …; p_K·s_K·A_K] = Δ + Σ p_k·s_k·B_k·A_k
      each client trains s_k·B_k·A_k on W + Δ from A_k random, B_k = 0
    `,
    notes: `
      Clients download the stacks of the rounds since their last counted update, R·(d + l) numbers a matrix, or Δ itself where
      that is less: it grows with the cohort. Δ has no rank: what a run leaves as its adapter, and what export and eval read,
      is the best approximation of Δ that has the scenario's rank; the run's own metrics are those of Δ.
    `,
    sends: null,
    keeps: "Δ, dense; how many rows each round's stacks had",
    sources: [
      {
        by: "Wang et al.",
        title: "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations",
        year: 2024,
        url: "https://arxiv.org/abs/2409.05976",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    ...rankFields,
    ...scaleField,
    freshFactors: z
      .enum(["own", "shared"])
      .default("own")
      .describe(
        "whether each client draws a random A of its own, or all have that of the round; the paper does not say",
      ),
    accumulate: z
      .enum(["dense", "stack"])
      .default("dense")
      .describe(
        "Δ exactly, or compressed by singular value decomposition from time to time, which is not exact any more",
      ),
    compressEvery: z.number().int().min(1).default(5).describe("rounds between compressions of a stack"),
    compressRank: z.number().int().min(1).default(16).describe("rank of a compressed stack"),
    ...averagingFields,
    absentPolicy: averagingFields.absentPolicy
      .unwrap()
      .default("renormalise")
      .describe("a client that did not train a pair counts not at all, or as unchanged"),
  },
  make(options) {
    const { freshFactors, accumulate, compressEvery, compressRank, discounts } = options;
    return {
      needs: ["low-rank"],
      problems: (setting) => rankProblems(options, setting),
      init: ({ layout }) => ({
        vectors: {
          delta: new Float32Array(denseOffsets(layout).at(-1)!),
          // Rows of all stacks so far, after each round, `[rounds, groups]`; round 0 has none.
          stacked: new Float64Array(layout.groups.length),
        },
        notes: { compressed: 0 },
      }),
      plan(client, server, setting) {
        const plan = planOfRank(client, rankFor(client.budget, options, setting), options, setting);
        const { delta } = server.vectors;
        const name = "flora factors";
        const draws = freshFactors === "own" ? client.draws(name) : setting.draws(`${name} of round ${client.round}`);
        return {
          ...plan,
          kind: { variant: { ...plan.kind.variant, delta: 1 } },
          // Checks before a run, and runs without training, have no model and read no vectors.
          ...(delta !== undefined && { start: freshFactorsOf(setting, draws), inputs: { delta } }),
          bytes: {
            down: 4 * downloadOf(server, client.memory, setting, compressRank),
            up: 4 * scalarsOf(setting.layout, plan.scope),
          },
        };
      },
      // Δ is the same for all, and would be copied for each client of a call.
      steps: () => ({ merges: false }),
      reply: (_trained, _plan, { round }) => ({ memory: { vectors: {}, notes: { synced: round - 1 } } }),
      sums: "products",
      weight: (update, group) => averagingWeight(options, update, group) * update.discount,
      begin: (_server, { layout: { pairs, groups } }): Sum => ({
        products: pairs.map(emptySum),
        weight: new Float64Array(groups.length),
        ranks: new Float64Array(groups.length),
      }),
      fold({ products, weight, ranks }: Sum, update, { layout }) {
        const values = sentValues(update);
        const rank = rankOfPlan(update.plan, layout);
        const share = scaleOfPlan(update.plan) * (discounts === "damp" ? update.discount : 1);
        const given = layout.groups.map(
          (_, group) => averagingWeight(options, update, group) * (discounts === "reweigh" ? update.discount : 1),
        );
        for (const [group, own] of given.entries()) {
          weight[group]! += own;
          if (hasTrained(update, group) && share * own > 0) ranks[group]! += rank;
        }
        for (const [at, pair] of layout.pairs.entries()) {
          if (!hasTrained(update, pair.group)) continue;
          addProduct(products[at]!, values, pair, share * given[pair.group]! * pair.scale, rank);
        }
      },
      async finish({ products, weight, ranks }: Sum, server, { layout }, { round, work }) {
        const { pairs } = layout;
        const offsets = denseOffsets(layout);
        const moving = [...pairs.entries()].filter(([, { group }]) => ranks[group]! > 0 && weight[group]! > 0);
        if (moving.length === 0) return server;
        const delta = (server.vectors.delta as Float32Array).slice();
        const parameters = server.parameters.slice();
        const compresses = accumulate === "stack" && round % compressEvery === 0;
        const changing = compresses ? [...pairs.entries()] : moving;
        const absorptions = changing.map(([at, pair]) => ({
          delta: delta.slice(offsets[at]!, offsets[at + 1]!),
          sum: products[at]!,
          factor: ranks[pair.group]! > 0 ? 1 / weight[pair.group]! : 0,
        }));
        const options = { most: fullRank(layout), compressTo: compresses ? compressRank : null };
        const absorbed = await Promise.all(inParts(absorptions).map((items) => work("absorb", { items, ...options })));
        for (const [i, { delta: grown, triples }] of absorbed.flat().entries()) {
          const [at, pair] = changing[i]!;
          delta.set(grown, offsets[at]!);
          writeFactors(parameters, pair, triples, 1 / pair.scale, "B");
        }
        return {
          parameters,
          vectors: {
            ...server.vectors,
            delta,
            stacked: withRound(server.vectors.stacked as Float64Array, ranks, round),
          },
          notes: compresses ? { compressed: round } : server.notes,
        };
      },
      deploy(budget, { parameters, vectors: { delta } }, setting) {
        const variant = variantFor(budget, options, setting);
        // The folder of a run holds the best approximation of Δ as factors, and not Δ.
        if (!(delta instanceof Float32Array)) return { models: [{ parameters, variant }] };
        const none = new Float32Array(parameters.length);
        return { models: [{ parameters: none, variant: { ...variant, delta: 1 }, inputs: { delta } }] };
      },
    };
  },
});

/** A uniform in ±1/√inputs, as at the start of a run, and B zero. */
function freshFactorsOf({ layout }: Setting, draws: Draws): Float32Array {
  const factors = new Float32Array(layout.size);
  for (const { a, rank, inputs } of layout.pairs) {
    const bound = 1 / Math.sqrt(inputs);
    for (let i = a; i < a + rank * inputs; i++) factors[i] = bound * (2 * draws.uniform() - 1);
  }
  return factors;
}

/** Numbers that bring a client from the Δ it has to that of now: of each matrix the new stacks, or all of it. */
function downloadOf(
  { vectors, notes }: ServerState,
  memory: ClientMemory,
  { layout }: Setting,
  compressRank: number,
): number {
  const groups = layout.groups.length;
  const stacked = (vectors.stacked as Float64Array | undefined) ?? new Float64Array(groups);
  const { compressed } = (notes as { readonly compressed: number } | null) ?? { compressed: 0 };
  const { synced } = (memory.notes as { readonly synced: number } | null) ?? { synced: 0 };
  const isOld = compressed > synced;
  const rows = (round: number, group: number) => stacked[Math.min(stacked.length - groups, round * groups) + group]!;
  let numbers = 0;
  for (const { group, inputs, outputs } of layout.pairs) {
    const since = rows(Number.POSITIVE_INFINITY, group) - rows(isOld ? compressed : synced, group);
    numbers += Math.min((since + (isOld ? compressRank : 0)) * (inputs + outputs), inputs * outputs);
  }
  return numbers;
}

/** Rows after this round; rounds that nobody closed left those of before. */
function withRound(stacked: Float64Array, ranks: Float64Array, round: number): Float64Array {
  const groups = ranks.length;
  const next = new Float64Array((round + 1) * groups);
  next.set(stacked);
  for (let at = stacked.length; at < next.length; at++) next[at] = next[at - groups]!;
  for (let group = 0; group < groups; group++) next[round * groups + group]! += ranks[group]!;
  return next;
}
