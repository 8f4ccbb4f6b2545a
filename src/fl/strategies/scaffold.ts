/** SCAFFOLD: control variates take the drift out of local steps. */
import * as z from "zod";
import { gradients } from "../../tensor/autodiff.ts";
import { add, reduceSum, sub } from "../../tensor/ops/arithmetic.ts";
import {
  averagingFields,
  averagingWeight,
  eachOf,
  emptyMean,
  foldMean,
  moved,
  type WeightedMean,
} from "../averaging.ts";
import { localRateField, ofRate } from "../local-rate.ts";
import { usual } from "../plan.ts";
import { onesOf } from "../probes.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** Σ (c_i⁺ − c_i). */
  readonly change: Float64Array;
}

export const scaffold = defineStrategy({
  type: "scaffold",
  about: {
    adapts: "the local gradient: control variates correct what clients drift",
    formula: `
      y ← y − η·(g(y) − c_i + c)                       K steps of plain SGD from x
      c_i⁺ = c_i − c + (x − y) ÷ (K·η)                 control "steps", the paper's option II
      c_i⁺ = ∇F_i(x)                                   control "gradient", its option I
      x ← x + η_s · mean(y_i − x),   c ← c + Σ (c_i⁺ − c_i) ÷ N          over arrivals; N all clients
    `,
    notes: `
      A group that a client did not train keeps its slice of c_i. Twice the bytes of FedAvg, each way. The formula of
      option II holds for plain SGD alone, so local steps are that whatever the scenario's optimizer; the scenario's
      clipNorm still bounds the corrected gradient, and null leaves it as it is.
    `,
    sends: "c_i⁺ − c_i; receives c",
    keeps: "c; c_i with each client",
    sources: [
      {
        by: "Karimireddy et al.",
        title: "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
        year: 2020,
        url: "https://arxiv.org/abs/1910.06378",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    serverLearningRate: z.number().positive().default(1).describe("η_s"),
    control: z.enum(["steps", "gradient"]).default("steps").describe("how c_i⁺ is found"),
    ...localRateField,
    ...averagingFields,
    weighting: averagingFields.weighting.unwrap().default("uniform").describe("of clients; the paper's is uniform"),
  },
  make: ({ serverLearningRate, control, localLearningRate, ...options }) => ({
    weight: (update, group) => averagingWeight(options, update, group) * update.discount,
    init: ({ layout }) => ({ vectors: { c: new Float64Array(layout.size) }, notes: null }),
    plan: (client, { vectors }, setting) => ({
      ...usual(client, setting),
      ...ofRate(localLearningRate, setting),
      inputs: {
        c: vectors.c ?? new Float64Array(setting.layout.size),
        ci: client.memory.vectors.ci ?? new Float64Array(setting.layout.size),
      },
      bytes: { down: 8 * setting.layout.size, up: 8 * setting.layout.size },
    }),
    steps: () => ({
      optimizer: "sgd",
      given: { c: "parameters", ci: "parameters" },
      gradient: (gradient, { given }) => add(sub(gradient, given.ci!), given.c!),
      ...(control === "gradient" && {
        backward: 1,
        before: ({ pass, parameters }) => ({
          gradient: gradients(reduceSum(pass.losses, [0], true), [parameters])[0]!,
          targets: reduceSum(onesOf(pass.losses), [0], true),
        }),
      }),
    }),
    reply({ values, base, steps, trained, found }, { inputs, learningRate }, { memory }, { layout, rate }) {
      const { c, ci } = inputs as { c: Float64Array; ci: Float64Array };
      const taken = steps * (learningRate ?? rate);
      // Since it was invited, another update of its own may have been counted.
      const own = memory.vectors.ci ?? new Float64Array(layout.size);
      const next = Float64Array.from(own);
      const change = new Float64Array(layout.size);
      eachOf(
        layout,
        (group) => trained[group] === 1,
        (i) => {
          next[i] =
            control === "gradient"
              ? found.gradient![i]! / found.targets![0]!
              : ci[i]! - c[i]! + (base[i]! - values[i]!) / taken;
          change[i] = next[i]! - own[i]!;
        },
      );
      return { memory: { vectors: { ci: next }, notes: null }, sent: { change } };
    },
    begin: (_server, { layout }): Sum => ({ mean: emptyMean(layout), change: new Float64Array(layout.size) }),
    fold({ mean, change }: Sum, update, { layout }) {
      foldMean(mean, update, layout, options.discounts, (one, group) => averagingWeight(options, one, group));
      const sent = update.sent.change as Float64Array;
      for (let i = 0; i < change.length; i++) change[i]! += sent[i]!;
    },
    finish({ mean, change }: Sum, server, { layout, clients }) {
      if (mean.updates === 0) return server;
      const c = Float64Array.from(server.vectors.c!, (value, i) => value + change[i]! / clients);
      const parameters = moved(mean, server.parameters, layout, (_, d) => serverLearningRate * d);
      return { ...server, parameters, vectors: { ...server.vectors, c } };
    },
  }),
});
