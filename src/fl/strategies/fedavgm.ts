/**
 * FedAvg with momentum on the server.
 *
 *   v ← β·v − D,   θ ← θ − η_s·v          D weighted mean delta
 *
 * A constant D settles at a speed of η_s·D / (1 − β) per round. β = 0 leaves FedAvg with a server learning rate.
 * Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution", 2019. https://arxiv.org/abs/1909.06335
 */
import { z } from "zod";
import { averagingBy, averagingFields, moved, type WeightedMean } from "../averaging.ts";
import { defineStrategy } from "../define-strategy.ts";
import type { Aggregation } from "../strategy.ts";

export const fedavgm = defineStrategy({
  type: "fedavgm",
  options: {
    /** β. */
    momentum: z.number().min(0).lt(1).default(0.9),
    /** η_s. */
    serverLearningRate: z.number().positive().default(1),
    ...averagingFields,
  },
  name: ({ momentum }) => `fedavgm(β=${momentum})`,
  make: ({ momentum, serverLearningRate, ...averaged }): Aggregation<WeightedMean> => ({
    ...averagingBy(averaged),
    finish(sum, server, { layout }) {
      if (sum.updates === 0) return server;
      const v = Float64Array.from(server.vectors.v ?? new Float64Array(layout.size));
      const parameters = moved(sum, server.parameters, layout, (i, mean) => {
        v[i] = momentum * v[i]! - mean;
        return -serverLearningRate * v[i]!;
      });
      return { ...server, parameters, vectors: { ...server.vectors, v } };
    },
  }),
});
