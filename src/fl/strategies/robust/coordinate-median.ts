/** The median of the clients' deltas, coordinate by coordinate. */

import { eachCoordinate, meanOf, minTrainersField, perGroup } from "../../kept-updates.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";

export const coordinateMedian = defineStrategy({
  type: "coordinate-median",
  about: {
    adapts: "how updates add up: the median withstands any minority of malicious clients",
    formula: `
      Δ_c = median over i of Δ_ic          each coordinate c over the clients that trained it
    `,
    notes: `
      Of an even number, the mean of the middle two. Each coordinate stays within the range of the honest ones. On skewed
      honest deltas the median is biased against the mean.
    `,
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
    reduces: [],
  },
  options: minTrainersField,
  make: ({ minTrainers }) => ({
    ...perGroup(minTrainers, (trainers, group, layout, delta) => {
      const from = (trainers.length - 1) >> 1;
      const to = (trainers.length >> 1) + 1;
      eachCoordinate(trainers, group, layout, delta, (sorted) => meanOf(sorted, from, to));
    }),
    idle: (updates) => (updates < 3 ? `the median of ${updates} updates is their mean; it takes 3` : null),
  }),
});
