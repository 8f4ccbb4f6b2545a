/** FedAvg with momentum on the server. */
import * as z from "zod";
import { averagingBy, averagingFields, moved, type WeightedMean } from "../averaging.ts";
import type { Aggregation } from "../strategy.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

export const fedavgm = defineStrategy({
  type: "fedavgm",
  about: {
    adapts: "the server's step: momentum",
    formula: `
      v ← β·v − D,   θ ← θ − η_s·v          D weighted mean delta
    `,
    notes: "A constant D settles at a speed of η_s·D / (1 − β) per round.",
    sends: null,
    keeps: "v",
    sources: [
      {
        by: "Hsu, Qi, Brown",
        title: "Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
        year: 2019,
        url: "https://arxiv.org/abs/1909.06335",
      },
    ],
    certainty: "as published",
    reduces: [{ options: { momentum: 0 }, to: { type: "fedavg" }, gives: ["program", "bytes"] }],
  },
  options: {
    momentum: z.number().min(0).lt(1).default(0.9).describe("β"),
    serverLearningRate: z.number().positive().default(1).describe("η_s"),
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
