/**
 * Adaptive server optimizers: the mean delta D is taken for a gradient, element by element.
 *
 *   m ← β₁·m + (1 − β₁)·D
 *   v ← v + D²                              FedAdagrad
 *   v ← β₂·v + (1 − β₂)·D²                  FedAdam
 *   v ← v − (1 − β₂)·D²·sign(v − D²)        FedYogi
 *   θ ← θ + η_s·m / (√v + τ)
 *
 * m starts at 0 and v at τ², as the paper asks, or at 0, as Flower does. Flower's FedAdam also scales η_s by
 * √(1 − β₂^(t+1)) / (1 − β₁^(t+1)), with t = 1 in the first round; the paper has no such correction.
 * Reddi et al., "Adaptive Federated Optimization", 2021. https://arxiv.org/abs/2003.00295
 */
import { z } from "zod";
import type { ParameterLayout } from "../../tasks/layout.ts";
import { averagingBy, averagingFields, moved, type WeightedMean } from "../averaging.ts";
import { defineStrategy } from "../define-strategy.ts";
import type { Vectors } from "../plan.ts";
import type { Aggregation } from "../strategy.ts";

const fedoptFields = {
  /** β₁. */
  beta1: z.number().min(0).lt(1).default(0.9),
  /** τ > 0: how small √v may become in the division. */
  tau: z.number().positive().default(1e-3),
  initialVariance: z.enum(["tau-squared", "zero"]).default("tau-squared"),
  ...averagingFields,
  /** The paper's D is the plain mean. */
  weighting: averagingFields.weighting.unwrap().default("uniform"),
};
/** η_s. */
const rateField = { serverLearningRate: z.number().positive().default(1e-2) };
const decayField = { beta2: z.number().min(0).lt(1).default(0.99) };

type FedoptOptions = z.output<z.ZodObject<typeof fedoptFields & typeof rateField>>;

export const fedadam = defineStrategy({
  type: "fedadam",
  options: { ...rateField, biasCorrection: z.enum(["off", "flower"]).default("off"), ...decayField, ...fedoptFields },
  name: ({ serverLearningRate: rate }) => `fedadam(η=${rate})`,
  make(options) {
    const { beta1, beta2, biasCorrection } = options;
    const corrected = (t: number) => Math.sqrt(1 - beta2 ** (t + 1)) / (1 - beta1 ** (t + 1));
    return fedopt(
      options,
      (v, square) => beta2 * v + (1 - beta2) * square,
      (t) => (biasCorrection === "flower" ? corrected(t) : 1),
    );
  },
});

export const fedyogi = defineStrategy({
  type: "fedyogi",
  options: { ...rateField, ...decayField, ...fedoptFields },
  name: ({ serverLearningRate: rate }) => `fedyogi(η=${rate})`,
  make: (options) => fedopt(options, (v, square) => v - (1 - options.beta2) * square * Math.sign(v - square)),
});

export const fedadagrad = defineStrategy({
  type: "fedadagrad",
  options: { ...rateField, ...fedoptFields, beta1: fedoptFields.beta1.unwrap().default(0) },
  name: ({ serverLearningRate: rate }) => `fedadagrad(η=${rate})`,
  make: (options) => fedopt(options, (v, square) => v + square),
});

/** @param rateFactor multiplies η_s in the t-th aggregation, t ≥ 1 */
function fedopt(
  options: FedoptOptions,
  nextVariance: (v: number, square: number) => number,
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
        v[i] = nextVariance(v[i]!, mean * mean);
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
