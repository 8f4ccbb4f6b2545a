/**
 * The mean of what is left when, coordinate by coordinate, the g = ⌊β·n⌋ smallest and largest deltas are dropped.
 *
 * Safe against f of n clients when β ≥ f ÷ n. β = 0 is the plain mean over an expert's trainers.
 * Yin et al., "Byzantine-Robust Distributed Learning", 2018. https://arxiv.org/abs/1803.01498
 */
import { z } from "zod";
import { defineStrategy } from "../define-strategy.ts";
import { eachCoordinate, meanOf, minTrainersField, perGroup } from "../kept-updates.ts";

export const trimmedMean = defineStrategy({
  type: "trimmed-mean",
  options: {
    /** β, dropped at each end, in [0, 0.5). */
    trim: z.number().min(0).lt(0.5).default(0.2),
    ...minTrainersField,
  },
  name: ({ trim }) => `trimmed-mean(${trim})`,
  make: ({ trim, minTrainers }) =>
    perGroup(minTrainers, (trainers, group, layout, delta) => {
      const dropped = trimmedAtEachEnd(trim, trainers.length);
      eachCoordinate(trainers, group, layout, delta, (sorted) => meanOf(sorted, dropped, trainers.length - dropped));
    }),
});

/** ⌊β·n⌋, with β·n first rounded to a millionth: 0.29 · 100 is 28.999… in floating point and means 29. */
const trimmedAtEachEnd = (trim: number, n: number): number => Math.floor(Math.round(trim * n * 1e6) / 1e6);
