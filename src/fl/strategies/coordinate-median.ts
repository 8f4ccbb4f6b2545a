/**
 * The median of the clients' deltas, coordinate by coordinate; of an even number, the mean of the middle two.
 *
 * Any minority of clients may send what it likes: each coordinate stays within the range of the honest ones. On
 * skewed honest deltas the median is biased against the mean.
 * Yin et al., "Byzantine-Robust Distributed Learning", 2018. https://arxiv.org/abs/1803.01498
 */
import { z } from "zod";
import { parseSpec } from "../problem.ts";
import type { AggregationStrategy } from "../strategy.ts";
import type { Update } from "../update.ts";
import { eachCoordinate, meanOf, minTrainersField, perExpert } from "./kept-updates.ts";

export const coordinateMedianSpec = z.strictObject({ type: z.literal("coordinate-median"), ...minTrainersField });

export type CoordinateMedianOptions = Omit<z.input<typeof coordinateMedianSpec>, "type">;

export function coordinateMedian(options: CoordinateMedianOptions = {}): AggregationStrategy<Update[]> {
  const spec = parseSpec("strategy", coordinateMedianSpec, { type: "coordinate-median", ...options });
  return perExpert("coordinate-median", spec, spec.minTrainers, (trainers, expert, layout, delta) => {
    const from = (trainers.length - 1) >> 1;
    const to = (trainers.length >> 1) + 1;
    eachCoordinate(trainers, expert, layout, delta, (sorted) => meanOf(sorted, from, to));
    return true;
  });
}
