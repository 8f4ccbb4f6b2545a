/**
 * Adaptive optimization at a server that never waits, for clients that choose themselves when to take part and how many
 * steps to take. Meant for a buffered policy, whose buffer is the set C below.
 *
 *   U_i = Δ_i ÷ K_i (`normalise: "perStep"`) or Δ_i
 *   Δ = mean of U_i over C;   with `memory` the mean over all N clients of what each sent last (0 before)
 *   m ← β₁·m + (1 − β₁)·Δ,   v ← β₂·v + (1 − β₂)·Δ²,   v̂ ← max(v̂, v)
 *   θ ← θ + η·m ÷ (√v̂ + ε)
 *
 * `biasCorrection: "fadas"` takes η ÷ (1 − β₁^t) and √v̂ ÷ √(1 − β₂^t); `delayAdaptive` divides η by the largest staleness
 * in C where that exceeds `tauC`. `lazy` lets groups that nobody in C trained rest altogether. The source's own algorithm
 * could not be read: this is rebuilt from its parents, Anarchic Federated Learning and FADAS.
 * Sun et al., "Client-Centric Federated Adaptive Optimization", 2025. https://arxiv.org/abs/2501.09946
 */
import { z } from "zod";
import { eachOf } from "../averaging.ts";
import { defineStrategy } from "../define-strategy.ts";
import { localRateField, ofRate } from "../local-rate.ts";
import { usual, type Vectors } from "../plan.ts";
import { hasTrained } from "../update.ts";

interface Sum {
  /** Σ of U_i over C; with memory, what C changes in the sum over all. */
  readonly pull: Float64Array;
  readonly trained: Uint8Array;
  readonly vectors: Record<string, Vectors[string]>;
  arrivals: number;
  stalest: number;
}

export const ccfao = defineStrategy({
  type: "ccfao",
  options: {
    normalise: z.enum(["perStep", "none"]).default("perStep"),
    memory: z.boolean().default(false),
    serverOptimizer: z.enum(["amsgrad", "adam", "yogi", "adagrad", "sgd"]).default("amsgrad"),
    /** η. */
    serverLearningRate: z.number().positive().default(1e-3),
    /** β₁, β₂, ε; of rarely trained coordinates a larger ε bounds the first step. */
    b1: z.number().min(0).lt(1).default(0.9),
    b2: z.number().min(0).lt(1).default(0.99),
    epsilon: z.number().positive().default(1e-3),
    /** Where v̂ starts. */
    initialVariance: z.number().min(0).default(0),
    biasCorrection: z.enum(["off", "fadas"]).default("off"),
    delayAdaptive: z.boolean().default(false),
    tauC: z.number().min(0).default(1),
    lazy: z.boolean().default(true),
    ...localRateField,
  },
  name: ({ serverOptimizer, memory }) => `ccfao(${serverOptimizer}${memory ? ",memory" : ""})`,
  make(options) {
    const { normalise, memory, lazy, localLearningRate } = options;
    return {
      weight: (update, group) => (hasTrained(update, group) ? update.discount : 0),
      plan: (client, _server, setting) => ({ ...usual(client, setting), ...ofRate(localLearningRate) }),
      steps: () => ({ optimizer: "sgd" }),
      begin: ({ vectors }, { layout }): Sum => ({
        pull: Float64Array.from(vectors.table ?? new Float64Array(layout.size)),
        trained: new Uint8Array(layout.groups.length),
        vectors: { ...vectors },
        arrivals: 0,
        stalest: 0,
      }),
      fold(sum: Sum, update, { layout }) {
        const { client, values, base, steps, discount, staleness, clip = 1 } = update;
        const factor = (discount * clip) / (normalise === "perStep" ? steps : 1);
        const last = memory ? sum.vectors[`last:${client}`] : undefined;
        const own = new Float64Array(memory ? layout.size : 0);
        eachOf(
          layout,
          (group) => hasTrained(update, group),
          (i) => {
            const change = factor * (values[i]! - base[i]!);
            sum.pull[i]! += change;
            if (memory) own[i] = change;
          },
        );
        if (memory) {
          if (last !== undefined) for (let i = 0; i < last.length; i++) sum.pull[i]! -= last[i]!;
          sum.vectors[`last:${client}`] = own;
        }
        for (const group of layout.groups.keys()) if (hasTrained(update, group)) sum.trained[group] = 1;
        sum.arrivals++;
        sum.stalest = Math.max(sum.stalest, staleness);
      },
      finish({ pull, trained, vectors, arrivals, stalest }: Sum, server, { layout, clients }) {
        if (arrivals === 0) return server;
        const { serverOptimizer, b1, b2, epsilon, initialVariance, biasCorrection, delayAdaptive, tauC } = options;
        const t = (server.vectors.t?.[0] ?? 0) + 1;
        const m = Float64Array.from(server.vectors.m ?? new Float64Array(layout.size));
        const v = Float64Array.from(server.vectors.v ?? new Float64Array(layout.size));
        const largest = Float64Array.from(server.vectors.vhat ?? new Float64Array(layout.size).fill(initialVariance));
        const slower = delayAdaptive && stalest > tauC ? Math.max(1, stalest) : 1;
        const corrected = biasCorrection === "fadas";
        const rate = options.serverLearningRate / slower / (corrected ? 1 - b1 ** t : 1);
        const root = corrected ? Math.sqrt(1 - b2 ** t) : 1;
        const share = 1 / (memory ? clients : arrivals);
        const parameters = server.parameters.slice();
        eachOf(
          layout,
          (group) => !lazy || trained[group] === 1,
          (i) => {
            const change = share * pull[i]!;
            if (serverOptimizer === "sgd") {
              parameters[i] = parameters[i]! + (options.serverLearningRate / slower) * change;
              return;
            }
            const square = change * change;
            m[i] = b1 * m[i]! + (1 - b1) * change;
            if (serverOptimizer === "adagrad") v[i] = v[i]! + square;
            else if (serverOptimizer === "yogi") v[i] = v[i]! - (1 - b2) * square * Math.sign(v[i]! - square);
            else v[i] = b2 * v[i]! + (1 - b2) * square;
            largest[i] = serverOptimizer === "amsgrad" ? Math.max(largest[i]!, v[i]!) : v[i]!;
            if (m[i] !== 0) parameters[i] = parameters[i]! + (rate * m[i]!) / (Math.sqrt(largest[i]!) / root + epsilon);
          },
        );
        const table = memory ? { table: pull } : {};
        return { ...server, parameters, vectors: { ...vectors, ...table, m, v, vhat: largest, t: Float64Array.of(t) } };
      },
    };
  },
});
