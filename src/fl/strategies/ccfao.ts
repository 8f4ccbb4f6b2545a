/** CC-FAO: adaptive optimization at a server that never waits. */
import * as z from "zod";
import { addChange, eachOf } from "../averaging.ts";
import { localRateField, ofRate } from "../local-rate.ts";
import { usual, type Vectors } from "../plan.ts";
import { nextVariance } from "../second-moment.ts";
import { hasTrained } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

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
  about: {
    adapts: "the server's step, for clients that choose when to take part and how many steps to take",
    formula: `
      U_i = Δ_i ÷ K_i (normalise "perStep") or Δ_i
      Δ = mean of U_i over C;   with memory the mean over all N clients of what each sent last (0 before)
      m ← β₁·m + (1 − β₁)·Δ,   v ← β₂·v + (1 − β₂)·Δ²,   v̂ ← max(v̂, v)
      θ ← θ + η·m ÷ (√v̂ + ε)          C the arrivals of a round
    `,
    notes: `
      Meant for a buffered policy, whose buffer is C. biasCorrection "fadas" takes η ÷ (1 − β₁^t) and √v̂ ÷ √(1 − β₂^t).
    `,
    sends: "steps taken",
    keeps: "m, v, v̂; with memory, U_i of each client, at the server",
    sources: [
      {
        by: "Sun et al.",
        title: "Client-Centric Federated Adaptive Optimization",
        year: 2025,
        url: "https://arxiv.org/abs/2501.09946",
      },
    ],
    certainty: "rebuilt: the algorithm, from its parents Anarchic Federated Learning and FADAS",
    reduces: [
      {
        options: { normalise: "none", serverOptimizer: "sgd", serverLearningRate: 1 },
        to: { type: "fedavg", weighting: "uniform" },
        gives: ["values"],
      },
      { options: {}, to: { type: "fednova" }, gives: ["program"] },
    ],
  },
  options: {
    normalise: z.enum(["perStep", "none"]).default("perStep").describe("what U_i is"),
    memory: z.boolean().default(false).describe("whether Δ is a mean over all clients"),
    serverOptimizer: z.enum(["amsgrad", "adam", "yogi", "adagrad", "sgd"]).default("amsgrad").describe("rule for v̂"),
    serverLearningRate: z.number().positive().default(1e-3).describe("η"),
    b1: z.number().min(0).lt(1).default(0.9).describe("β₁"),
    b2: z.number().min(0).lt(1).default(0.99).describe("β₂"),
    epsilon: z
      .number()
      .positive()
      .default(1e-3)
      .describe("ε; a larger one bounds the first step of rarely trained coordinates"),
    initialVariance: z.number().min(0).default(0).describe("where v̂ starts"),
    biasCorrection: z.enum(["off", "fadas"]).default("off").describe("of m and v̂"),
    delayAdaptive: z
      .boolean()
      .default(false)
      .describe("divides η by the largest staleness in C where that exceeds tauC"),
    tauC: z.number().min(0).default(1).describe("staleness that is not slowed down, in rounds"),
    lazy: z.boolean().default(true).describe("lets groups that nobody in C trained rest altogether"),
    ...localRateField,
  },
  name: ({ serverOptimizer, memory }) => `ccfao(${serverOptimizer}${memory ? ",memory" : ""})`,
  make(options) {
    const { normalise, memory, lazy, localLearningRate } = options;
    return {
      ...(memory && { sums: "each" }),
      weight: (update, group) => (hasTrained(update, group) ? update.discount : 0),
      plan: (client, _server, setting) => ({ ...usual(client, setting), ...ofRate(localLearningRate, setting) }),
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
        const { pull } = sum;
        const into = memory ? new Float64Array(layout.size) : pull;
        for (const [group, { ranges }] of layout.groups.entries()) {
          if (!hasTrained(update, group)) continue;
          sum.trained[group] = 1;
          for (const { start, end } of ranges) addChange(into, values, base, start, end, factor);
        }
        if (memory) {
          for (let i = 0; i < pull.length; i++) pull[i] = pull[i]! + into[i]! - (last?.[i] ?? 0);
          sum.vectors[`last:${client}`] = into;
        }
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
            v[i] = nextVariance(serverOptimizer === "amsgrad" ? "adam" : serverOptimizer, v[i]!, square, b2);
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
