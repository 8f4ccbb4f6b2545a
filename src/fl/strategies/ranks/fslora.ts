/** FSLoRA: each client trains a random part of one adapter's components, scaled to stand for the whole. */
import * as z from "zod";
import { scalarsOf } from "../../../tasks/scope.ts";
import { averagingBy, averagingFields, moved, type WeightedMean } from "../../averaging.ts";
import { localRateField, ofRate } from "../../local-rate.ts";
import type { ServerState } from "../../strategy.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { deployingGlobally, fullRank, rankFields, rankFor, rankProblems, variantFor } from "./ranks.ts";

export const fslora = defineStrategy({
  type: "fslora",
  about: {
    adapts: "the rank: a client trains a random subset of components, new in every round and as large as it affords",
    formula: `
      client trains the loss at s·B·S·A,   S = (r ÷ k)·Σ_{j ∈ I} e_j·e_jᵀ          I random, |I| = k, of the client's round
      B ← B + η_s·mean of scattered ΔB,   A ← A + η_s·mean of scattered ΔA
    `,
    notes: `
      The mean runs over all arrivals and not, component by component, over those that had it: r ÷ k makes up for that. With
      adaptive local optimizers that factor is normalised out of the gradient, and with it unbiasedness; the forward product
      keeps it. A component that nobody had rests. In the published code the masks never apply; this follows the formulas.
    `,
    sends: "which components, unless a seed says so",
    keeps: "with serverOptimizer adamw its moments",
    sources: [
      {
        by: "Fang et al.",
        title: "Federated Sketching LoRA",
        year: 2025,
        url: "https://arxiv.org/abs/2501.19389",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    ...rankFields,
    optimizer: z
      .enum(["scenario", "sgd"])
      .default("scenario")
      .describe("of local steps; unbiased is plain SGD, which the scenario's AdamW is not"),
    ...localRateField,
    download: z
      .enum(["sketch", "full"])
      .default("sketch")
      .describe(
        "what is charged: the components that a client needs, or the whole adapter, as the paper's table may mean",
      ),
    indices: z
      .enum(["seeded", "sent"])
      .default("seeded")
      .describe("how both sides know I: from a seed, or sent with the update, k·⌈log₂ r⌉ bits"),
    serverOptimizer: z
      .enum(["mean", "adamw"])
      .default("mean")
      .describe("what the mean change is: added, as in the analysis, or AdamW's gradient, as in the code"),
    serverLearningRate: z.number().positive().optional().describe("η_s; 1, or 3e-4 with adamw, unless given"),
    serverDecay: z.number().min(0).default(0.01).describe("decoupled weight decay of the server's AdamW"),
    ...averagingFields,
    weighting: averagingFields.weighting.unwrap().default("uniform").describe("of clients: all alike, or n_i"),
  },
  name: ({ serverOptimizer }) => (serverOptimizer === "mean" ? "fslora" : "fslora(adamw)"),
  make(options) {
    const { optimizer, localLearningRate, download, indices, serverOptimizer, serverDecay } = options;
    const { serverLearningRate: rate = serverOptimizer === "mean" ? 1 : 3e-4 } = options;
    return {
      needs: ["low-rank"],
      ...averagingBy(options),
      problems: (setting) => rankProblems(options, setting),
      plan(client, _server, setting) {
        const { layout } = setting;
        const full = fullRank(layout);
        const size = rankFor(client.budget, options, setting);
        const usual = {
          kind: { variant: variantFor(client.budget, options, setting) },
          ...ofRate(localLearningRate, setting),
        };
        if (size === full) return usual;
        const shuffled = client.draws("fslora components").shuffle([...Array(full).keys()]);
        const of = shuffled.slice(0, size).sort((a, b) => a - b);
        const scope = { components: { of, scale: full / size } };
        const scalars = 4 * scalarsOf(layout, scope);
        const indexBytes = indices === "sent" ? Math.ceil((size * Math.ceil(Math.log2(full))) / 8) : 0;
        return {
          ...usual,
          scope,
          bytes: { down: download === "full" ? 4 * layout.size : scalars, up: scalars + indexBytes },
        };
      },
      ...(optimizer === "sgd" && { steps: () => ({ optimizer: "sgd" }) }),
      finish(sum: WeightedMean, server, { layout }) {
        if (sum.updates === 0) return server;
        if (serverOptimizer === "adamw") return adamW(sum, server, layout, rate, serverDecay);
        return { ...server, parameters: moved(sum, server.parameters, layout, (_, mean) => rate * mean) };
      },
      ...deployingGlobally(options),
    };
  },
});

/** PyTorch's defaults. */
const [beta1, beta2, epsilon] = [0.9, 0.999, 1e-8];

function adamW(
  sum: WeightedMean,
  server: ServerState,
  layout: Parameters<typeof moved>[2],
  rate: number,
  decay: number,
): ServerState {
  const { vectors } = server;
  const m = Float64Array.from(vectors.m ?? new Float64Array(layout.size));
  const v = Float64Array.from(vectors.v ?? new Float64Array(layout.size));
  const t = Float64Array.of((vectors.t?.[0] ?? 0) + 1);
  const parameters = moved(sum, server.parameters, layout, (i, mean) => {
    // Nobody had this component.
    if (mean === 0) return 0;
    m[i] = beta1 * m[i]! + (1 - beta1) * mean;
    v[i] = beta2 * v[i]! + (1 - beta2) * mean * mean;
    const step = m[i]! / (1 - beta1 ** t[0]!) / (Math.sqrt(v[i]! / (1 - beta2 ** t[0]!)) + epsilon);
    return rate * (step - decay * server.parameters[i]!);
  });
  return { ...server, parameters, vectors: { ...vectors, m, v, t } };
}
