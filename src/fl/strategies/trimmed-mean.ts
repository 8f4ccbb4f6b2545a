/**
 * The mean of what is left when, coordinate by coordinate, the g = ⌊β·n⌋ smallest and largest deltas are dropped.
 *
 * Safe against f of n clients when β ≥ f ÷ n. β = 0 is the plain mean over an expert's trainers.
 * Yin et al., "Byzantine-Robust Distributed Learning", 2018. https://arxiv.org/abs/1803.01498
 */
import { z } from "zod";
import { parseSpec } from "../problem.ts";
import type { AggregationStrategy } from "../strategy.ts";
import type { Update } from "../update.ts";
import { eachCoordinate, meanOf, minTrainersField, perExpert } from "./kept-updates.ts";

export const trimmedMeanSpec = z.strictObject({
  type: z.literal("trimmed-mean"),
  /** β, dropped at each end, in [0, 0.5). */
  trim: z.number().min(0).lt(0.5).default(0.2),
  ...minTrainersField,
});

export type TrimmedMeanOptions = Omit<z.input<typeof trimmedMeanSpec>, "type">;

export function trimmedMean(options: TrimmedMeanOptions = {}): AggregationStrategy<Update[]> {
  const spec = parseSpec("strategy", trimmedMeanSpec, { type: "trimmed-mean", ...options });
  return perExpert(`trimmed-mean(${spec.trim})`, spec, spec.minTrainers, (trainers, expert, layout, delta) => {
    const dropped = trimmedAtEachEnd(spec.trim, trainers.length);
    eachCoordinate(trainers, expert, layout, delta, (sorted) => meanOf(sorted, dropped, trainers.length - dropped));
    return true;
  });
}

/** ⌊β·n⌋, with β·n first rounded to a millionth: 0.29 · 100 is 28.999… in floating point and means 29. */
export const trimmedAtEachEnd = (trim: number, n: number): number => Math.floor(Math.round(trim * n * 1e6) / 1e6);
