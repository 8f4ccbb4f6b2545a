/** Mixture of Ranks: ranks are experts, chosen for each input by how degraded it is, and averaged by who chose them. */
import * as z from "zod";
import type { RankPass } from "../../../tasks/ranks.ts";
import type { Affordable, Variant } from "../../../tasks/task.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { add, addScalar, div, mul, reduceSum, scale } from "../../../tensor/ops/arithmetic.ts";
import { concat, reshape } from "../../../tensor/ops/layout.ts";
import { discountField, emptyMean, foldMean, isMoved, moved, type WeightedMean } from "../../averaging.ts";
import { addProduct, emptySum, type ProductSum } from "../../low-rank/products.ts";
import { hasTrained, sentValues, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { decomposed, writeFactors } from "./factors.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** Σ w·B·A of each pair, where products are averaged; and how much of it stands for what the server has, by group. */
  readonly products: readonly ProductSum[];
  readonly kept: Float64Array;
  /** Client, and how many routed ranks it trained. */
  readonly trained: (readonly [client: number, ranks: number])[];
}

/** What is remembered of each routed rank: for how many rounds nobody has chosen it. */
interface Notes {
  readonly idle: readonly number[];
  readonly trained: Readonly<Record<string, number>>;
}

export const mixtureOfRanks = defineStrategy({
  type: "mixture-of-ranks",
  about: {
    adapts:
      "the rank, input by input: a router chooses ranks by how degraded an input is, as many as the client affords",
    formula: `
      y = W·x + Σ_j B_j·A_j·x + Σ_{i∈T} g_i·B_i·A_i·x       j shared ranks, i routed ones
      p = softmax(R·s + r),   T = the k_c largest of p        s in [0, 1)^P: how degraded the input is
      g = p ÷ Σ_{i∈T} p_i                                  over n routed ranks and n_0 zero slots, N = n + n_0
      loss + N·Σ_i α_i·f_i·p̄_i                             α_i = α, or s̄·α for a zero slot; f share of selections, p̄ mean of p

      routed rank     θ_i ← θ_i + Σ_k c_ki·Δ_ki ÷ Σ_k c_ki     c_ki inputs of client k that chose rank i
      shared, router  θ ← θ + Σ_k n_k·Δ_k ÷ Σ_k n_k
    `,
    notes: `
      The federated part is ours; the paper trains in one place. A zero slot has no parameters, no work and no bytes. All
      clients begin with one set of ranks and never permute them: rank i means the same thing everywhere. A client knows
      only after training which ranks its inputs chose, so an upload is charged with all of them and 8 bytes a rank for
      the counts. The balance loss is the mean over the adapted products, f and p̄ are over the examples of a batch, and
      no gradient passes through f. Averaging A and B apart is not the average of B·A; with merge products the best rank
      one of that is kept. In the notes of the server's state: for how many rounds nobody has chosen each rank, and how
      many ranks each client of the round trained.
    `,
    sends: "c, how many of its inputs chose each routed rank",
    keeps: "for how many rounds nobody has chosen each routed rank",
    sources: [
      {
        by: "He et al.",
        title: "Mixture of Ranks with Degradation-Aware Routing for One-Step Real-World Image Super-Resolution",
        year: 2025,
        url: "https://arxiv.org/abs/2511.16024",
      },
    ],
    certainty: "rebuilt: from notes on the paper, which is not federated; gates' norm, α and all averaging are ours",
    reduces: [
      {
        options: { alpha: 0, routedWeights: "examples" },
        to: { type: "fedavg", absentPolicy: "renormalise" },
        gives: ["program", "bytes"],
      },
    ],
  },
  options: {
    gateNorm: z
      .enum(["topk", "none"])
      .default("topk")
      .describe("whether gates are divided by their sum over what was chosen, zero slots included"),
    alpha: z.number().min(0).default(0.01).describe("α, what the balance loss weighs; 0 for none"),
    zeroPenalty: z
      .enum(["batch", "input", "even"])
      .default("batch")
      .describe("s̄ of zero slots: of the batch, of each input inside the mean, or 1, the ordinary balance loss"),
    routedWeights: z
      .enum(["counts", "examples"])
      .default("counts")
      .describe("of the clients that trained a routed rank: c_ki, or n_k"),
    merge: z
      .enum(["factors", "products"])
      .default("factors")
      .describe("what is averaged of a rank: A and B apart, or B·A, of which the largest singular pair is kept"),
    ...discountField,
  },
  name: ({ alpha, zeroPenalty, merge }) =>
    `mixture-of-ranks(α=${alpha}${zeroPenalty === "batch" ? "" : `,${zeroPenalty}`}${merge === "factors" ? "" : ",products"})`,
  make(options) {
    const { gateNorm, alpha, zeroPenalty, routedWeights, merge, discounts } = options;
    const variantOf = (budget: number, setting: Affordable): Variant => ({
      ...setting.variant(budget),
      ...(gateNorm === "none" && { gates: "none" }),
    });
    return {
      needs: ["slices"],
      sums: merge === "products" ? "products" : "deltas",
      plan: ({ budget }, _server, setting) => ({
        kind: { variant: variantOf(budget, setting) },
        bytes: { up: 4 * setting.layout.size + 8 * routedOf(setting).length },
      }),
      steps: () =>
        alpha === 0
          ? {}
          : {
              merges: false,
              objective({ loss, pass }) {
                const { products, severity } = pass.ranks!;
                const present = reshape(pass.present(), severity.shape);
                const each = products.map((product) => balanceLoss(product, severity, present, zeroPenalty));
                return add(loss, scale(each.reduce(add), alpha / each.length));
              },
            },
      reply({ counts }, _plan, { examples }, setting) {
        const weights = new Float64Array(counts.length).fill(examples);
        if (routedWeights === "counts") for (const group of routedOf(setting)) weights[group] = counts[group]!;
        return { sent: { weights } };
      },
      weight: (update, group) => weightOf(update, group) * update.discount,
      begin: (_server, { layout }): Sum => ({
        mean: emptyMean(layout),
        products: merge === "products" ? layout.pairs.map(emptySum) : [],
        kept: new Float64Array(layout.groups.length),
        trained: [],
      }),
      fold({ mean, products, kept, trained }: Sum, update, { layout }) {
        foldMean(mean, update, layout, discounts, weightOf);
        const { discount } = update;
        trained.push([update.client, routedOf({ layout }).filter((group) => hasTrained(update, group)).length]);
        if (products.length === 0) return;
        for (const group of kept.keys())
          kept[group]! += discounts === "damp" ? weightOf(update, group) * (1 - discount) : 0;
        const values = sentValues(update);
        for (const [at, pair] of layout.pairs.entries()) {
          addProduct(products[at]!, values, pair, weightOf(update, pair.group) * discount);
        }
      },
      async finish({ mean, products, kept, trained }: Sum, server, { layout }, { work }) {
        if (mean.updates === 0) return server;
        const parameters = moved(mean, server.parameters, layout, (_, delta) => delta);
        const moving = layout.pairs.filter((pair, at) => products[at] !== undefined && isMoved(mean, pair.group));
        const sums = layout.pairs.flatMap((pair, at) => (moving.includes(pair) ? [products[at]!] : []));
        for (const [at, pair] of moving.entries()) addProduct(sums[at]!, server.parameters, pair, kept[pair.group]!);
        for (const [at, triples] of (await decomposed(sums, 1, work)).entries()) {
          const pair = moving[at]!;
          writeFactors(parameters, pair, triples, 1 / mean.weight[pair.group]!, "B");
        }
        const { idle = [] } = (server.notes ?? {}) as Partial<Notes>;
        const notes: Notes = {
          idle: routedOf({ layout }).map((group, rank) => (mean.trainers[group]! > 0 ? 0 : (idle[rank] ?? 0) + 1)),
          trained: Object.fromEntries(trained),
        };
        return { ...server, parameters, notes: { ...notes } };
      },
      deploy: (budget, { parameters }, setting) => ({
        models: [{ parameters, variant: variantOf(budget, setting) }],
      }),
    };

    /** Before any discount; a group that a client did not train does not count. */
    function weightOf(update: Update, group: number): number {
      return hasTrained(update, group) ? (update.sent.weights as Float64Array)[group]! : 0;
    }
  },
});

const routedOf = ({ layout }: Pick<Affordable, "layout">): readonly number[] => layout.routedRanks ?? [];

/**
 * @internal N·Σ_i w_i·f_i·p̄_i of one product, `[1]`, where w is 1, or s̄ for a zero slot.
 *
 * @param severity s̄ of each input, `[rows, 1]`
 * @param present `[rows, 1]`, 1 for a row that is an example
 */
export function balanceLoss(
  { probabilities, selected, routed }: RankPass,
  severity: Tensor,
  present: Tensor,
  zeroPenalty: "batch" | "input" | "even",
): Tensor {
  const [, candidates] = probabilities.shape as [number, number];
  const rows = reduceSum(present, [0], true);
  const mean = (t: Tensor) => div(reduceSum(mul(t, present), [0], true), rows);
  const chosen = reduceSum(mul(selected, present), [0], true);
  const share = div(chosen, reduceSum(chosen, [1], true));
  const one = addScalar(scale(severity, 0), 1);
  const ofZero = zeroPenalty === "even" ? one : zeroPenalty === "input" ? severity : mul(one, mean(severity));
  const weights = concat(
    Array.from({ length: candidates }, (_, at) => (at < routed ? one : ofZero)),
    1,
  );
  const weighted = mean(mul(probabilities, weights));
  return scale(reshape(reduceSum(mul(share, weighted), [1], true), [1]), candidates);
}
