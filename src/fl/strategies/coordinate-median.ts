/**
 * The median of the clients' deltas, coordinate by coordinate; of an even number, the mean of the middle two.
 *
 * Any minority of clients may send what it likes: each coordinate stays within the range of the honest ones. On
 * skewed honest deltas the median is biased against the mean.
 * Yin et al., "Byzantine-Robust Distributed Learning", 2018. https://arxiv.org/abs/1803.01498
 */
import { defineStrategy } from "../define-strategy.ts";
import { eachCoordinate, meanOf, minTrainersField, perGroup } from "../kept-updates.ts";

export const coordinateMedian = defineStrategy({
  type: "coordinate-median",
  options: minTrainersField,
  make: ({ minTrainers }) =>
    perGroup(minTrainers, (trainers, group, layout, delta) => {
      const from = (trainers.length - 1) >> 1;
      const to = (trainers.length >> 1) + 1;
      eachCoordinate(trainers, group, layout, delta, (sorted) => meanOf(sorted, from, to));
    }),
});
