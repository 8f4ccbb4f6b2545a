/** The mean of what is left when, coordinate by coordinate, the smallest and largest deltas are dropped. */
import * as z from "zod";
import { eachCoordinate, meanOf, minTrainersField, perGroup } from "../../kept-updates.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";

export const trimmedMean = defineStrategy({
  type: "trimmed-mean",
  about: {
    adapts: "how updates add up: the mean without extremes",
    formula: `
      Δ_c = mean of Δ_ic without the g = ⌊β·n⌋ smallest and the g largest, c a coordinate, n clients that trained it
    `,
    notes: "Safe against f of n clients when β ≥ f ÷ n.",
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Yin et al.",
        title: "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
        year: 2018,
        url: "https://arxiv.org/abs/1803.01498",
      },
    ],
    certainty: "as published",
    reduces: [
      {
        options: { trim: 0 },
        to: { type: "fedavg", weighting: "uniform", absentPolicy: "renormalise" },
        gives: ["program", "values"],
      },
    ],
  },
  options: {
    trim: z.number().min(0).lt(0.5).default(0.2).describe("β, dropped at each end, in [0, 0.5)"),
    ...minTrainersField,
  },
  name: ({ trim }) => `trimmed-mean(${trim})`,
  make: ({ trim, minTrainers }) => ({
    ...perGroup(minTrainers, (trainers, group, layout, delta) => {
      const dropped = trimmedAtEachEnd(trim, trainers.length);
      eachCoordinate(trainers, group, layout, delta, (sorted) => meanOf(sorted, dropped, trainers.length - dropped));
    }),
    idle: (updates) =>
      trim > 0 && trimmedAtEachEnd(trim, updates) === 0
        ? `trim ${trim} of ${updates} updates cuts none; it takes ${Math.ceil(1 / trim)}`
        : null,
  }),
});

/** ⌊β·n⌋, with β·n first rounded to a millionth: 0.29 · 100 is 28.999… in floating point and means 29. */
const trimmedAtEachEnd = (trim: number, n: number): number => Math.floor(Math.round(trim * n * 1e6) / 1e6);
