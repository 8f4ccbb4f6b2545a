/** FedVRA: a dual vector on every client cancels its drift. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { Steps } from "../../tasks/steps.ts";
import type { Setting } from "../../tasks/task.ts";
import { add, argMax, cast, scale, sub } from "../../tensor/ops/arithmetic.ts";
import { detach } from "../../tensor/ops/discrete.ts";
import { crossEntropy } from "../../tensor/ops/nn.ts";
import { discountField, eachOf, emptyMean, foldMean, isMoved, moved, type WeightedMean } from "../averaging.ts";
import { localRateField, ofRate } from "../local-rate.ts";
import type { Vectors } from "../plan.ts";
import { hasTrained, type Update } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** The server's vectors as they will be, what this round changes among them. */
  readonly vectors: Record<string, Vectors[string]>;
  /** Arrivals whose dual step waits for the mean of all. */
  readonly waiting: Update[];
}

export const fedvra = defineStrategy({
  type: "fedvra",
  about: {
    adapts: "the local gradient: a dual vector of each client cancels its drift",
    formula: `
      θ ← θ − η·(g(θ) + λ_i + γ·(θ − x))                      local steps from x
      λ_i ← λ_i + a_i·γ·(θ_i − x),    λ̄ = Σ over all clients of w_i·λ_i,    w_i = n_i ÷ n

      mean      x ← Σ_S w_i·θ_i ÷ w_S + λ̄/γ                  S: arrivals, w_S their weight
      damped    x ← x + Σ_S w_i·(θ_i − x) + λ̄/γ
      stale     x ← Σ over all of w_i·θ_i(last) + λ̄/γ          θ_i(last) = x₀ until heard of
    `,
    notes: `
      FedAvg, FedProx, federated ADMM and FedDyn are corners of it. The server works λ_i out of the same difference as
      the client, so nothing more travels than in FedAvg. Groups that a client did not train keep their λ_i; groups that
      nobody trained stay. γ = 0 asks for a = 0, and λ̄/γ is 0 then. Metrics have ‖λ̄‖/γ as
      pull, by which early rounds can overshoot.

      With unlabelled (FedVRA-U) that share of the clients sees no label. Their examples' labels are a block of variables of
      their own, which never leaves them: before the local steps it is minimised exactly at the model they received, where
      F_i over one-hot labels is least for the likeliest class. A step passes forward over that model as well, and is charged so.
    `,
    sends: null,
    keeps: "λ̄; λ_i of each client, at the server and with the client",
    sources: [
      {
        by: "Wang et al.",
        title: "Beyond ADMM: A Unified Client-variance-reduced Adaptive Federated Learning Framework",
        year: 2022,
        url: "https://arxiv.org/abs/2212.01519",
      },
    ],
    certainty: "rebuilt: the steps a_i and the server's weights, from the augmented Lagrangian",
    reduces: [
      {
        options: { gamma: 0, a: 0 },
        to: { type: "fedavg", absentPolicy: "renormalise" },
        gives: ["bytes"],
      },
      { options: { gamma: 0, a: 0 }, to: { type: "fednova" }, gives: ["program"] },
      { options: { a: 0 }, to: { type: "fedprox", absentPolicy: "renormalise" }, gives: ["bytes"] },
    ],
  },
  options: {
    gamma: z.number().min(0).default(0.1).describe("γ"),
    aRule: z
      .enum(["const", "perSteps", "heterogeneity"])
      .default("const")
      .describe("a_i: a, 1 ÷ (γ·η·steps), or 1 − max(0, cos(θ_i − x, mean of θ_j − x))"),
    a: z.number().min(0).max(10).default(1).describe("a_i with aRule const"),
    serverMode: z.enum(["mean", "damped", "stale"]).default("mean").describe("what the server makes of arrivals"),
    lambdaDecay: z
      .number()
      .min(0)
      .max(1)
      .default(1)
      .describe("what is left of λ_i after each round in which a client was not counted"),
    unlabelled: z.number().min(0).max(1).default(0).describe("share of clients without labels, which guess them"),
    ...localRateField,
    ...discountField,
  },
  name: ({ gamma, serverMode, unlabelled }) =>
    `fedvra(γ=${gamma},${serverMode}${unlabelled > 0 ? `,unlabelled=${unlabelled}` : ""})`,
  make({ gamma, aRule, a, serverMode, lambdaDecay, unlabelled, localLearningRate, discounts }) {
    if (gamma === 0 && (aRule !== "const" || a > 0)) {
      throw new ScenarioError("strategy.gamma is 0, expected above 0 unless a is 0 and aRule const");
    }
    /** λ_i of a client as it enters a round; null before it was first counted. */
    const dualOf = (vectors: Vectors, client: number, round: number): Vectors[string] | null => {
      const lambda = vectors[`lambda:${client}`];
      if (lambda === undefined) return null;
      const missed = Math.max(0, round - vectors[`counted:${client}`]![0]! - 1);
      return missed === 0 || lambdaDecay === 1 ? lambda : lambda.map((value) => value * lambdaDecay ** missed);
    };
    const takeDualStep = ({ vectors }: Sum, update: Update, step: number, round: number, setting: Setting): void => {
      const { client } = update;
      const share = shareOf(client, setting);
      const before = vectors[`lambda:${client}`];
      const lambda = Float64Array.from(dualOf(vectors, client, round) ?? new Float64Array(setting.layout.size));
      eachTrained(update, setting, (i, change) => {
        lambda[i]! += step * gamma * change;
      });
      const lbar = vectors.lbar!;
      for (let i = 0; i < lbar.length; i++) lbar[i]! += share * (lambda[i]! - (before?.[i] ?? 0));
      vectors[`lambda:${client}`] = lambda;
      vectors[`counted:${client}`] = Float64Array.of(round);
    };
    return {
      folding: aRule === "heterogeneity" ? "all" : "stream",
      // λ_i is worked out at the server as well.
      sums: "each",
      weight: (update, group) => (hasTrained(update, group) ? update.examples * update.discount : 0),
      init: ({ layout }) => ({ vectors: { lbar: new Float64Array(layout.size) }, notes: null }),
      ...(unlabelled > 0 && { needs: ["labels"] }),
      plan: (client, { vectors }, setting) => ({
        kind: {
          variant: setting.variant(client.budget),
          ...(unlabelled > 0 && { guesses: setting.draws(`unlabelled ${client.client}`).uniform() < unlabelled }),
        },
        ...ofRate(localLearningRate, setting),
        ...(gamma > 0 && {
          inputs: { lambda: dualOf(vectors, client.client, client.round) ?? new Float64Array(setting.layout.size) },
        }),
      }),
      steps: ({ guesses }) => ({
        optimizer: "sgd",
        ...(guesses === true && guessing),
        ...(gamma > 0 && {
          given: { lambda: "parameters" },
          gradient: (gradient, { parameters, start, given }) =>
            add(add(gradient, given.lambda!), scale(sub(parameters, start), gamma)),
        }),
      }),
      begin(server, { layout }): Sum {
        const { vectors, parameters } = server;
        const last = serverMode === "stale" && {
          first: Float64Array.from(parameters),
          all: Float64Array.from(parameters),
        };
        const lbar = Float64Array.from(vectors.lbar!);
        const all = vectors.all === undefined ? {} : { all: Float64Array.from(vectors.all) };
        return { mean: emptyMean(layout), vectors: { ...last, ...vectors, lbar, ...all }, waiting: [] };
      },
      fold(sum: Sum, update, setting, { round }) {
        const { client } = update;
        const weightOf = (one: Update, group: number) => (hasTrained(one, group) ? setting.examples(client) : 0);
        foldMean(sum.mean, update, setting.layout, discounts, weightOf);
        if (serverMode === "stale") takePlace(sum, update, setting);
        const rate = update.plan.learningRate ?? setting.rate;
        if (aRule === "heterogeneity") sum.waiting.push(update);
        else takeDualStep(sum, update, aRule === "const" ? a : 1 / (gamma * rate * update.steps), round, setting);
      },
      finish(sum: Sum, server, setting, { round }) {
        const { mean, vectors, waiting } = sum;
        if (mean.updates === 0) return server;
        const { layout } = setting;
        for (const update of waiting) {
          takeDualStep(sum, update, 1 - Math.max(0, agreement(update, mean.delta, setting)), round, setting);
        }
        const all = examplesOf(setting);
        const gain = (group: number) => (serverMode === "mean" ? 1 : mean.weight[group]! / all);
        const parameters =
          serverMode === "stale"
            ? server.parameters.slice()
            : moved(mean, server.parameters, layout, (_, d, group) => gain(group) * d);
        eachOf(
          layout,
          (group) => isMoved(mean, group),
          (i) => {
            const from = serverMode === "stale" ? vectors.all![i]! : parameters[i]!;
            parameters[i] = gamma === 0 ? from : from + vectors.lbar![i]! / gamma;
          },
        );
        return { ...server, parameters, vectors };
      },
      // A small γ makes much of λ̄, and the first rounds can overshoot.
      report: ({ vectors }) => (gamma === 0 ? {} : { pull: normOf(vectors.lbar!) / gamma }),
    };
  },
});

/** The labels that are likeliest to the model as it was received. */
const guessing: Steps = {
  merges: false,
  receives: true,
  objective: ({ pass, received, mean }) =>
    mean(crossEntropy(pass.logits, cast(detach(argMax(received().logits)), "int32"))),
};

/** Puts the client's parameters in the place of its last ones in the mean of all. */
function takePlace({ vectors }: Sum, update: Update, setting: Setting): void {
  const { client, base } = update;
  const share = shareOf(client, setting);
  const last = Float64Array.from(vectors[`last:${client}`] ?? vectors.first!);
  eachTrained(update, setting, (i, change) => {
    const value = base[i]! + change;
    vectors.all![i]! += share * (value - last[i]!);
    last[i] = value;
  });
  vectors[`last:${client}`] = last;
}

function eachTrained(update: Update, { layout }: Setting, each: (i: number, change: number) => void): void {
  const { values, base, discount, clip = 1 } = update;
  const factor = discount * clip;
  const wanted = (group: number) => hasTrained(update, group);
  eachOf(layout, wanted, (i) => each(i, factor * (values[i]! - base[i]!)));
}

/** w_i, its share of the examples of all clients. */
const shareOf = (client: number, setting: Setting): number => setting.examples(client) / examplesOf(setting);

function examplesOf({ clients, examples }: Setting): number {
  let all = 0;
  for (let client = 0; client < clients; client++) all += examples(client);
  return all;
}

const normOf = (vector: ArrayLike<number>): number => {
  let square = 0;
  for (let i = 0; i < vector.length; i++) square += vector[i]! * vector[i]!;
  return Math.sqrt(square);
};

/** The cosine between an update and the mean of all. */
function agreement(update: Update, mean: Float64Array, setting: Setting): number {
  let product = 0;
  let own = 0;
  let common = 0;
  eachTrained(update, setting, (i, change) => {
    product += change * mean[i]!;
    own += change * change;
  });
  for (const value of mean) common += value * value;
  return own === 0 || common === 0 ? 0 : product / Math.sqrt(own * common);
}
