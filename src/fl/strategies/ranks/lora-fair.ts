/** LoRA-FAIR: averaged factors, and a residual that corrects B for what averaging them loses. */
import * as z from "zod";
import type { LowRankPair, ParameterLayout } from "../../../tasks/layout.ts";
import { lensOf } from "../../../tasks/scope.ts";
import { averagingFields, averagingWeight, isMoved } from "../../averaging.ts";
import { addProduct, emptySum, type ProductSum } from "../../low-rank/products.ts";
import type { ResidualProblem } from "../../low-rank/residual.ts";
import type { ServerState } from "../../strategy.ts";
import { hasTrained, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { inParts } from "./factors.ts";
import { emptyPadded, foldPadded, type PaddedMean, padded } from "./padded-mean.ts";
import { deployingGlobally, fullRank, planOfRank, rankFields, rankFor, rankOfPlan, rankProblems } from "./ranks.ts";

interface Sum {
  readonly mean: PaddedMean;
  /** Σ w·B·A of each pair, and Σ w of clients that count as unchanged. */
  readonly products: readonly ProductSum[];
  readonly unchanged: Float64Array;
  readonly server: ServerState;
}

export const loraFair = defineStrategy({
  type: "lora-fair",
  about: {
    adapts: "the server's average of factors: a residual on B brings it nearer to the average of products",
    formula: `
      Ā = Σ p_k·A_k,   B̄ = Σ p_k·B_k,   ΔW = Σ p_k·B_k·A_k
      B ← B̄ + E,   E minimises 1 − cos(ΔW, (B̄ + E)·Ā) + λ·‖E‖²   (cosine-sgd, from E = 0)
      or ‖ΔW − (B̄ + E)·Ā‖² + λ·‖E‖²   (l2-closed; λ in units of the mean eigenvalue of Ā·Āᵀ)
    `,
    notes: `
      The paper prints the cosine itself under a minimum, which only makes sense as 1 − cosine. It finds that λ = 0 matches
      ΔW best and learns worst: staying near the average matters. Unequal ranks are padded, which the method does not natively do.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Bian et al.",
        title: "LoRA-FAIR: Federated LoRA Fine-Tuning with Aggregation and Initialization Refinement",
        year: 2025,
        url: "https://arxiv.org/abs/2411.14961",
      },
    ],
    certainty: "rebuilt: the solver's steps and rate, from re-implementations",
    reduces: [{ options: { solver: "none", ranks: "full" }, to: { type: "fedavg" }, gives: ["program", "bytes"] }],
  },
  options: {
    ranks: rankFields.ranks
      .unwrap()
      .or(z.literal("full"))
      .default("full")
      .describe("one rank for all, or r_k as shares or by budget"),
    experts: rankFields.experts,
    solver: z.enum(["cosine-sgd", "l2-closed", "none"]).default("cosine-sgd").describe("for E; none is FedIT"),
    lambda: z.number().min(0).default(0.01).describe("λ"),
    steps: z.number().int().min(1).default(1000).describe("of cosine-sgd"),
    rate: z.number().positive().default(0.01).describe("step size of cosine-sgd"),
    ...averagingFields,
  },
  name: ({ solver }) => `lora-fair(${solver})`,
  make({ ranks, solver, lambda, steps, rate, ...options }) {
    const weightOf = (update: Update, group: number) => averagingWeight(options, update, group);
    return {
      needs: ["low-rank"],
      problems: (setting) => (ranks === "full" ? [] : rankProblems({ ...options, ranks }, setting)),
      ...(solver !== "none" && { sums: "products" }),
      weight: (update, group) => weightOf(update, group) * update.discount,
      plan(client, _server, setting) {
        const rank =
          ranks === "full" ? fullRank(setting.layout) : rankFor(client.budget, { ...options, ranks }, setting);
        return planOfRank(client, rank, { ...options, ranks: "share" }, setting);
      },
      begin: (server, { layout }): Sum => ({
        mean: emptyPadded(layout),
        products: layout.pairs.map(emptySum),
        unchanged: new Float64Array(layout.pairs.length),
        server,
      }),
      fold({ mean, products, unchanged, server }: Sum, update, { layout }) {
        const rank = rankOfPlan(update.plan, layout);
        const { discounts } = options;
        const weights = layout.pairs.map(({ group }) => weightOf(update, group));
        foldPadded(mean, update, layout, discounts, { rank, weightOf: (pair) => weights[pair]! });
        if (solver === "none") return;
        const values = averagedFactors(update, server, layout, discounts);
        for (const [at, pair] of layout.pairs.entries()) {
          const weight = weights[at]! * (discounts === "reweigh" ? update.discount : 1);
          if (hasTrained(update, pair.group)) addProduct(products[at]!, values, pair, weight);
          else unchanged[at]! += weight;
        }
      },
      async finish({ mean, products, unchanged }: Sum, server, { layout }, { work }) {
        if (mean.mean.updates === 0) return server;
        const parameters = padded(mean, server.parameters, layout, "zero");
        if (solver === "none") return { ...server, parameters };
        const moving = [...layout.pairs.entries()].filter(([at]) => isMoved(mean.mean, at));
        const problems = moving.map(([at, pair]): ResidualProblem => {
          const target = products[at]!;
          addProduct(target, server.parameters, pair, unchanged[at]!);
          return { target, weight: mean.mean.weight[at]!, ...factorsOf(parameters, pair) };
        });
        const found = await Promise.all(
          inParts(problems).map((part) =>
            work("residuals", { problems: part, options: { solver, lambda, steps, rate } }),
          ),
        );
        for (const [at, residual] of found.flat().entries()) {
          const { b } = moving[at]![1];
          for (let i = 0; i < residual.length; i++) if (residual[i] !== 0) parameters[b + i]! += residual[i]!;
        }
        return { ...server, parameters };
      },
      ...deployingGlobally({ ...options, ranks: "share" }),
    };
  },
});

/** The factors that the padded mean is the mean of: what the client adds to the model, zero where it has no component. */
function averagedFactors(
  { values, base, plan, clip = 1, discount }: Update,
  { parameters }: ServerState,
  layout: ParameterLayout,
  discounts: "damp" | "reweigh",
): Float64Array {
  const factor = discounts === "damp" ? discount : 1;
  const lens = plan.scope === undefined ? null : lensOf(layout, plan.scope);
  const averaged = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const own = parameters[i]!;
    const isInside = lens === null || lens[i] !== 0;
    averaged[i] = isInside ? own + factor * clip * (values[i]! - base[i]!) : (1 - factor) * own;
  }
  return averaged;
}

const factorsOf = (parameters: Float32Array, { a, b, rank, inputs, outputs }: LowRankPair) => ({
  a: Array.from({ length: rank }, (_, q) =>
    Float64Array.from(parameters.subarray(a + q * inputs, a + (q + 1) * inputs)),
  ),
  b: Float64Array.from(parameters.subarray(b, b + outputs * rank)),
});
