/** Normalised averaging: clients that took more steps do not pull harder. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import { averagingFields, averagingWeight, emptyMean, foldMean, moved, type WeightedMean } from "../averaging.ts";
import { localRateField, ofRate } from "../local-rate.ts";
import { usual } from "../plan.ts";
import { proximal } from "../proximal.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** Σ p_i·a_i of each group, in running form. */
  readonly steps: Float64Array;
}

export const fednova = defineStrategy({
  type: "fednova",
  about: {
    adapts: "updates, by how many local steps of what kind made them",
    formula: `
      θ ← θ + τ_eff · Σ p_i·Δ_i ÷ a_i,   τ_eff = Σ p_i·a_i

      a_i = τ_i                                              plain SGD
      a_i = (τ_i − ρ·(1 − ρ^τ_i) ÷ (1 − ρ)) ÷ (1 − ρ)         momentum ρ
      a_i = (1 − (1 − η·μ)^τ_i) ÷ (η·μ)                       proximal term μ
    `,
    notes: `
      Adaptive local optimizers have no closed form: with "adamw" a_i is the number of steps. Equal τ is FedAvg.
    `,
    sends: "steps taken",
    keeps: null,
    sources: [
      {
        by: "Wang et al.",
        title: "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization",
        year: 2020,
        url: "https://arxiv.org/abs/2007.07481",
      },
    ],
    certainty: "as published",
    reduces: [
      { options: { optimizer: "adamw" }, to: { type: "fedavg" }, gives: ["program"] },
      { options: { optimizer: "adamw", mu: 0.1 }, to: { type: "fedprox", mu: 0.1 }, gives: ["program"] },
    ],
  },
  options: {
    optimizer: z.enum(["sgd", "adamw"]).default("sgd").describe("of local steps"),
    momentum: z.number().min(0).lt(1).default(0).describe("ρ of local SGD"),
    mu: z.number().min(0).default(0).describe("μ of the proximal term"),
    ...localRateField,
    ...averagingFields,
  },
  make({ optimizer, momentum, mu, localLearningRate, ...options }) {
    if (momentum > 0 && (mu > 0 || optimizer === "adamw")) {
      throw new ScenarioError(
        `strategy.momentum is ${momentum}, expected 0 with ${mu > 0 ? "a proximal term" : "adamw"}`,
      );
    }
    return {
      weight: (update, group) => averagingWeight(options, update, group) * update.discount,
      plan: (client, _server, setting) => ({ ...usual(client, setting), ...ofRate(localLearningRate, setting) }),
      steps: () => ({
        ...(optimizer === "sgd" && { optimizer: momentum > 0 ? { momentum } : "sgd" }),
        ...(mu > 0 && proximal(mu)),
      }),
      begin: (_server, { layout }): Sum => ({
        mean: emptyMean(layout),
        steps: new Float64Array(layout.groups.length),
      }),
      fold({ mean, steps }: Sum, update, { layout, rate }) {
        const decay = optimizer === "adamw" ? 0 : mu * (update.plan.learningRate ?? rate);
        const a = effectiveSteps(update.steps, momentum, decay);
        const before = Float64Array.from(mean.weight);
        foldMean(mean, update, layout, options.discounts, (one, group) => averagingWeight(options, one, group), 1 / a);
        for (const [group, total] of mean.weight.entries()) {
          if (total > before[group]!) steps[group]! += ((total - before[group]!) / total) * (a - steps[group]!);
        }
      },
      finish: ({ mean, steps }: Sum, server, { layout }) =>
        mean.updates === 0
          ? server
          : { ...server, parameters: moved(mean, server.parameters, layout, (_, d, group) => steps[group]! * d) },
    };
  },
});

/** @internal a_i for τ steps; `decay` = η·μ. */
export function effectiveSteps(steps: number, momentum: number, decay: number): number {
  if (momentum > 0) return (steps - (momentum * (1 - momentum ** steps)) / (1 - momentum)) / (1 - momentum);
  return decay > 0 ? (1 - (1 - decay) ** steps) / decay : steps;
}
