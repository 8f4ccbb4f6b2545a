/** Adaptive server optimizers: the mean delta is taken for a gradient, element by element. */
import * as z from "zod";
import type { ParameterLayout } from "../../tasks/layout.ts";
import { averagingBy, averagingFields, moved, type WeightedMean } from "../averaging.ts";
import type { Vectors } from "../plan.ts";
import { nextVariance, type SecondMoment } from "../second-moment.ts";
import type { Aggregation } from "../strategy.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

const reddi = {
  by: "Reddi et al.",
  title: "Adaptive Federated Optimization",
  year: 2021,
  url: "https://arxiv.org/abs/2003.00295",
};

const fedoptFields = {
  beta1: z.number().min(0).lt(1).default(0.9).describe("β₁"),
  tau: z.number().positive().default(1e-3).describe("τ > 0: how small √v may become in the division"),
  initialVariance: z.enum(["tau-squared", "zero"]).default("tau-squared").describe("where v starts"),
  ...averagingFields,
  weighting: averagingFields.weighting.unwrap().default("uniform").describe("of clients in D; the paper's is uniform"),
};
const rateField = { serverLearningRate: z.number().positive().default(1e-2).describe("η_s") };
const decayField = { beta2: z.number().min(0).lt(1).default(0.99).describe("β₂") };

type FedoptOptions = z.output<z.ZodObject<typeof fedoptFields & typeof rateField>>;

export const fedadam = defineStrategy({
  type: "fedadam",
  about: {
    adapts: "the server's step: Adam",
    formula: `
      m ← β₁·m + (1 − β₁)·D          D mean delta, taken for a gradient element by element
      v ← β₂·v + (1 − β₂)·D²
      θ ← θ + η_s·m / (√v + τ)
    `,
    notes: `
      m starts at 0 and v at τ², as the paper asks, or at 0, as Flower does. Flower's FedAdam also scales η_s by
      √(1 − β₂^(t+1)) / (1 − β₁^(t+1)), with t = 1 in the first round; the paper has no such correction.
    `,
    sends: null,
    keeps: "m and v",
    sources: [reddi],
    certainty: "as published",
    reduces: [],
  },
  options: {
    ...rateField,
    biasCorrection: z.enum(["off", "flower"]).default("off").describe("of η_s"),
    ...decayField,
    ...fedoptFields,
  },
  name: ({ serverLearningRate: rate }) => `fedadam(η=${rate})`,
  make(options) {
    const { beta1, beta2, biasCorrection } = options;
    const corrected = (t: number) => Math.sqrt(1 - beta2 ** (t + 1)) / (1 - beta1 ** (t + 1));
    return fedopt(options, { rule: "adam", beta2 }, (t) => (biasCorrection === "flower" ? corrected(t) : 1));
  },
});

export const fedyogi = defineStrategy({
  type: "fedyogi",
  about: {
    adapts: "the server's step: Yogi",
    formula: `
      m ← β₁·m + (1 − β₁)·D          D mean delta, taken for a gradient element by element
      v ← v − (1 − β₂)·D²·sign(v − D²)
      θ ← θ + η_s·m / (√v + τ)
    `,
    sends: null,
    keeps: "m and v",
    sources: [reddi],
    certainty: "as published",
    reduces: [],
  },
  options: { ...rateField, ...decayField, ...fedoptFields },
  name: ({ serverLearningRate: rate }) => `fedyogi(η=${rate})`,
  make: (options) => fedopt(options, { rule: "yogi", beta2: options.beta2 }),
});

export const fedadagrad = defineStrategy({
  type: "fedadagrad",
  about: {
    adapts: "the server's step: Adagrad",
    formula: `
      m ← β₁·m + (1 − β₁)·D          D mean delta, taken for a gradient element by element
      v ← v + D²
      θ ← θ + η_s·m / (√v + τ)
    `,
    sends: null,
    keeps: "m and v",
    sources: [reddi],
    certainty: "as published",
    reduces: [],
  },
  options: { ...rateField, ...fedoptFields, beta1: fedoptFields.beta1.unwrap().default(0).describe("β₁") },
  name: ({ serverLearningRate: rate }) => `fedadagrad(η=${rate})`,
  make: (options) => fedopt(options, { rule: "adagrad", beta2: 1 }),
});

/** @param rateFactor multiplies η_s in the t-th aggregation, t ≥ 1 */
function fedopt(
  options: FedoptOptions,
  { rule, beta2 }: { readonly rule: SecondMoment; readonly beta2: number },
  rateFactor: (t: number) => number = () => 1,
): Aggregation<WeightedMean> {
  const { beta1, tau, serverLearningRate } = options;
  return {
    ...averagingBy(options),
    finish(sum, server, { layout }) {
      if (sum.updates === 0) return server;
      const { m, v, t } = nextMoments(options, server.vectors, layout);
      const rate = serverLearningRate * rateFactor(t[0]!);
      const parameters = moved(sum, server.parameters, layout, (i, mean) => {
        m[i] = beta1 * m[i]! + (1 - beta1) * mean;
        v[i] = nextVariance(rule, v[i]!, mean * mean, beta2);
        return (rate * m[i]!) / (Math.sqrt(v[i]!) + tau);
      });
      return { ...server, parameters, vectors: { ...server.vectors, m, v, t } };
    },
  };
}

/** Copies to write into, with t counted on; the starting values in the first aggregation. */
function nextMoments({ tau, initialVariance }: FedoptOptions, before: Vectors, { size }: ParameterLayout) {
  const start = initialVariance === "zero" ? 0 : tau * tau;
  return {
    m: Float64Array.from(before.m ?? new Float64Array(size)),
    v: Float64Array.from(before.v ?? new Float64Array(size).fill(start)),
    t: Float64Array.of((before.t?.[0] ?? 0) + 1),
  };
}
