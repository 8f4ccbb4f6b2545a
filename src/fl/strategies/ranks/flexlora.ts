/** FlexLoRA: the mean of products, redistributed at every rank by singular value decomposition. */
import * as z from "zod";
import { averagingFields, averagingWeight } from "../../averaging.ts";
import { addProduct, emptySum, type ProductSum } from "../../low-rank/products.ts";
import { hasTrained, sentValues } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { decomposed, rescaled, writeFactors } from "./factors.ts";
import {
  fullRank,
  planOfRank,
  prefix,
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
  /** Σ w of each group, and the part of it that stands for what the server has. */
  readonly weight: Float64Array;
  readonly kept: Float64Array;
  readonly trained: Uint8Array;
}

export const flexlora = defineStrategy({
  type: "flexlora",
  about: {
    adapts: "the rank; the server averages products B·A and hands out their best approximation at each rank",
    formula: `
      ΔW = Σ_k p_k·s_k·B_k·A_k = U·Σ·Vᵀ          p_k = n_k ÷ Σ n over the clients that trained a pair
      A = first r rows of Vᵀ,   B = first r columns of U·Σ, divided by s(r)
    `,
    notes: `
      A client's whole adapter is averaged, so one of low rank erases, by its weight, what it never received. Where ΔW has
      no more directions B is zero and A goes on with orthonormal rows. Signs: the largest entry of a column of U is positive.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Bai et al.",
        title: "Federated Fine-tuning of Large Language Models under Heterogeneous Tasks and Client Resources",
        year: 2024,
        url: "https://arxiv.org/abs/2402.11505",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    ...rankFields,
    ...scaleField,
    splitSigma: z.enum(["B", "sqrt"]).default("B").describe("where Σ goes: into B, as published, or √Σ into both"),
    ...averagingFields,
    absentPolicy: averagingFields.absentPolicy
      .unwrap()
      .default("renormalise")
      .describe("a client that did not train a pair counts not at all, or as unchanged"),
  },
  make(options) {
    const { splitSigma, discounts } = options;
    return {
      needs: ["low-rank"],
      problems: (setting) => rankProblems(options, setting),
      sums: "products",
      weight: (update, group) => averagingWeight(options, update, group) * update.discount,
      plan(client, { parameters }, setting) {
        const plan = planOfRank(client, rankFor(client.budget, options, setting), options, setting);
        const factor = scaleOfPlan(plan);
        if (factor === 1) return plan;
        return { ...plan, start: rescaled(parameters, setting.layout.pairs, factor, splitSigma) };
      },
      begin: (_server, { layout: { pairs, groups } }): Sum => ({
        products: pairs.map(emptySum),
        weight: new Float64Array(groups.length),
        kept: new Float64Array(groups.length),
        trained: new Uint8Array(groups.length),
      }),
      fold({ products, weight, kept, trained }: Sum, update, { layout }) {
        const values = sentValues(update);
        const rank = rankOfPlan(update.plan, layout);
        const own = new Float64Array(weight.length);
        for (const group of weight.keys()) {
          const given = averagingWeight(options, update, group) * (discounts === "reweigh" ? update.discount : 1);
          own[group] = hasTrained(update, group) ? given * (discounts === "damp" ? update.discount : 1) : 0;
          if (hasTrained(update, group)) trained[group] = 1;
          weight[group]! += given;
          kept[group]! += given - own[group]!;
        }
        for (const [at, pair] of layout.pairs.entries()) {
          addProduct(products[at]!, values, pair, own[pair.group]! * scaleOfPlan(update.plan), rank);
        }
      },
      async finish({ products, weight, kept, trained }: Sum, server, { layout }, { work }) {
        const { pairs } = layout;
        const moving = [...pairs.entries()].filter(
          ([, { group }]) => trained[group] === 1 && weight[group]! > kept[group]!,
        );
        const parameters = server.parameters.slice();
        for (const [at, pair] of moving) addProduct(products[at]!, server.parameters, pair, kept[pair.group]!);
        const sums = moving.map(([at]) => products[at]!);
        for (const [i, triples] of (await decomposed(sums, fullRank(layout), work)).entries()) {
          const [, pair] = moving[i]!;
          writeFactors(parameters, pair, triples, 1 / weight[pair.group]!, splitSigma);
        }
        return { ...server, parameters };
      },
      deploy(budget, { parameters }, setting) {
        const { scope } = prefix(rankFor(budget, options, setting), setting);
        return { models: [{ parameters, variant: variantFor(budget, options, setting), ...(scope && { scope }) }] };
      },
    };
  },
});
